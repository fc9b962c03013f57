"""How good the level forecasts are, what they must beat, and the pictures of both. No Spark in this room."""
