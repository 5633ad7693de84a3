"""Trainers on what searches left behind: `sft` and step-wise `dpo`, on TRL's."""
