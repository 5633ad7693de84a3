"""Run folders, and trees turned into training data."""
