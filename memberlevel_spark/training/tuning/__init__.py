"""Tuning: settings of the network and of its training, tried on the validation date; Optuna chooses them."""
