"""The networks that predict a level, and the losses that fit them."""
