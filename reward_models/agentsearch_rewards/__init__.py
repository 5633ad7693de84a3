"""Learned judgements of trajectories."""
