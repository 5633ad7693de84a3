"""The recipe's numbers as one frozen dataclass, read from `config.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Settings:
    """See `config.yaml` for the meaning of each number.

    Attributes:
        build: where this profile keeps everything it makes; git ignores it.
    """

    build: Path
    name: str
    seed: int
    vocab_size: int
    corpus_documents: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int
    max_positions: int
    rope_theta: float
    shares: Mapping[int, Mapping[str, float]]
    detour_share: float
    init: str | None
    babyai_share: float
    babyai_shares: Mapping[str, float]
    babyai_episodes: int
    babyai_dev_episodes: int
    webshop_pages: int
    webshop_shares: Mapping[str, float]
    webshop_episodes: int
    webshop_dev_episodes: int
    discount: float
    steps: int
    restart_steps: int
    restart: Mapping[str, Any]
    planned_steps: int
    cooldown_steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    final_share: float
    weight_decay: float
    clip: float
    log_steps: int
    checkpoint_minutes: float
    dev_steps: int
    dev_examples: int
    eval_puzzles: int
    samples: int
    judge_states: int
    choose_questions: int

    @property
    def total_steps(self) -> int:
        """Steps before and after the restart."""
        return self.steps + self.restart_steps

    def at(self, step: int) -> Settings:
        """The settings of a training step, which may be others after the restart."""
        return self if step < self.steps else replace(self, **self.restart)

    def shares_at(self, step: int) -> Mapping[str, float]:
        """Shares of the roles at a training step."""
        return self.shares[max(first for first in self.shares if first <= step)]


PROFILE = "tiny-v3"
"""The newest of the shipped models."""


def load(profile: str = PROFILE, **changes: object) -> Settings:
    """The settings of a profile; `changes` override single numbers."""
    profiles = yaml.safe_load((HERE / "config.yaml").read_text())
    if profile not in profiles:
        raise ValueError(f"{profile}: unknown profile. Known: {', '.join(profiles)}.")
    values = profiles["tiny-v1"] | profiles[profile] | changes
    return Settings(**{"build": HERE.parents[1] / "build" / "tiny" / profile, **values})
