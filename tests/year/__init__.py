"""A year of a synthetic shop, lived: ``make simulate-year``. See README, A year of days."""
