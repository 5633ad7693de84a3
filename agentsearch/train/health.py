"""What a training measures while it runs, and what stops it.

Every step's measures go through TRL's own logging, and so to whatever `args.report_to` names,
and beside that to `metrics.jsonl` in the folder of the result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.train.losses import Pairs, implicit_rewards, kl_k1, kl_k3, masked_sum
from agentsearch.train.recipe import Sentinels

SHOWN = ("loss", "rewards/accuracies", "logps/chosen", "kl/k1", "grad_norm", "tokens_per_second")
"""Measures on the line that is printed."""


class TrainingStopped(AgentSearchError):
    """A sentinel stopped a training, or it ran out of memory."""


def token_measures(
    logps: Tensor, recorded: Tensor, entropy: Tensor, ids: Tensor, mask: Tensor, end: int
) -> dict[str, Tensor]:
    """Measures over the trained tokens of a batch.

    The tokens were drawn from the recorded policy, so `kl/k1` and `kl/k3` estimate
    KL(recorded || trained), of which k1 is unbiased where nothing was selected.

    Args:
        logps: `[B, T]`, under the policy that is trained.
        recorded: `[B, T]`, when the tokens were sampled.
        entropy: `[B, T]`, of the distribution each token was drawn from.
        ids: `[B, T]`.
        mask: `[B, T]`, 0 on every token that the policy did not write.
        end: id of the end-of-turn token.

    Returns:
        Scalars by name; response length is in tokens, entropy in nats.
    """
    on = mask != 0
    last = on & ~torch.cat([on[:, 1:], torch.zeros_like(on[:, :1])], 1)
    return {
        "kl/k1": kl_k1(recorded, logps)[on].mean(),
        "kl/k3": kl_k3(recorded, logps)[on].mean(),
        "entropy": entropy[on].mean(),
        "response_tokens": on.sum(-1).float().mean(),
        "no_end_share": (ids[last] != end).float().mean(),
    }


def pair_measures(pairs: Pairs, beta: float) -> dict[str, Tensor]:
    """Measures of a batch of pairs, under the names TRL gives them; scalars."""
    chosen = implicit_rewards(pairs.chosen, pairs.ref_chosen, beta)
    rejected = implicit_rewards(pairs.rejected, pairs.ref_rejected, beta)
    return {
        "rewards/chosen": chosen.mean(),
        "rewards/rejected": rejected.mean(),
        "rewards/margins": (chosen - rejected).mean(),
        "rewards/accuracies": (chosen > rejected).float().mean(),
        "logps/chosen": pairs.chosen.mean(),
        "logps/rejected": pairs.rejected.mean(),
        "chosen_drop": (pairs.ref_chosen - pairs.chosen).mean(),
    }


def logprob_gap(logps: Tensor, recorded: Tensor, mask: Tensor) -> Tensor:
    """Difference between two accounts of the same tokens: its sum, its maximum, their number.

    All are `[B, T]`; the result is `[3]`.
    """
    gap = (logps - recorded).abs()
    largest = gap.masked_fill(mask == 0, 0.0).max()
    return torch.stack([masked_sum(gap, mask).sum(), largest, (mask != 0).sum()])


class Health(TrainerCallback):
    """Judges and writes down what is logged.

    Attributes:
        limits: where to stop.
        file: `metrics.jsonl`.
    """

    def __init__(self, limits: Sentinels, file: Path) -> None:
        self.limits = limits
        self.file = file
        self._gap = (0.0, 0.0, 0.0)
        self._clock: tuple[float, float] | None = None

    def judge_gap(self, total: float, largest: float, tokens: float) -> dict[str, float]:
        """Take in what `logprob_gap` found in a batch before the first step.

        Returns:
            The mean so far in nats a token, and the greatest ratio of probabilities.

        Raises:
            ConfigError: the model is not the one that was sampled.
        """
        total, tokens = self._gap[0] + total, self._gap[2] + tokens
        self._gap = (total, max(self._gap[1], largest), tokens)
        mean = total / tokens
        limit = self.limits.max_logprob_gap
        if limit is not None and not mean <= limit:
            raise ConfigError(
                f"The model's log-probabilities differ from the recorded ones by {mean:.3g} nats "
                f"a token in the mean of {tokens:.0f} tokens (limits.max_logprob_gap={limit:g}): "
                "the data was made by another model or chat template. Set model to the one "
                "that was sampled; null is for a training that begins elsewhere on purpose."
            )
        ratio = math.exp(min(self._gap[1], 700.0))
        return {"logprob_gap/mean": mean, "logprob_gap/max_ratio": ratio}

    def judge_finite(self, step: int, measures: Mapping[str, float]) -> None:
        """Stop where a measure is no number.

        Raises:
            TrainingStopped: saying which, and what to change.
        """
        for name, value in measures.items():
            if not math.isfinite(value):
                raise TrainingStopped(
                    f"Step {step}: {name} is {value}. Lower args.learning_rate or "
                    "args.max_grad_norm, and start again in another folder."
                )

    def judge(self, step: int, measures: Mapping[str, float]) -> None:
        """Stop where a measure is out of bounds.

        Raises:
            TrainingStopped: saying which, and what to change.
        """
        self.judge_finite(step, measures)
        drop, most = measures.get("chosen_drop"), self.limits.max_chosen_drop
        if drop is not None and most is not None and drop > most:
            raise TrainingStopped(
                f"Step {step}: chosen responses are {drop:.3g} nats less likely than they were "
                f"recorded (limits.max_chosen_drop={most:g}). Raise dpo.nll or dpo.beta, or lower "
                "args.learning_rate."
            )
        kl, cap = measures.get("kl/k1"), self.limits.max_kl
        if kl is not None and cap is not None and kl > cap:
            raise TrainingStopped(
                f"Step {step}: the policy is {kl:.3g} nats a token away from the recorded one "
                f"(limits.max_kl={cap:g}). Train fewer steps or lower args.learning_rate."
            )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop the lines of steps that are taken again after a crash."""
        if state.is_world_process_zero and self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _step(line) <= state.global_step]
            self.file.write_text("".join(kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write the measures down, print some of them, and judge them."""
        if logs is None or "loss" not in logs:  # the last record sums up the whole training
            return
        now, tokens = time.monotonic(), logs.get("num_tokens", 0.0)
        if self._clock is not None:
            logs["tokens_per_second"] = (tokens - self._clock[1]) / (now - self._clock[0])
        self._clock = now, tokens
        numbers = {k: float(v) for k, v in logs.items() if isinstance(v, (int, float))}
        if state.is_world_process_zero:
            line = {"step": state.global_step, **numbers}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            shown = "  ".join(f"{k} {numbers[k]:.4g}" for k in SHOWN if k in numbers)
            print(f"step {state.global_step}/{state.max_steps}  {shown}", flush=True)
        self.judge(state.global_step, numbers)


def _step(line: str) -> float:
    """The step of a line; infinite where a crash cut it off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf
