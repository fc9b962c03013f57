"""Streams the examples table to the trainer: who reads which file, in which order, and proof that no row was lost."""
