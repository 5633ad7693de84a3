"""What states are worth: votes, rollouts, and values without a model."""
