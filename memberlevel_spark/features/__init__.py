"""Daily tiles, feature declarations and the point-in-time features and sequences computed from them."""
