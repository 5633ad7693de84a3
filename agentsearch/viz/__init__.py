"""Drawing trees."""
