"""Streams the examples table to the trainer: who reads which file, in which order, and the proof that no row was lost."""
