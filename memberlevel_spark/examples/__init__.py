"""Labels, and the encoded examples the trainer reads."""
