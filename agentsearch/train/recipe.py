"""Recipes of trainings: YAML over frozen dataclasses, profiles and dotted overrides.

A profile, `recipes/profiles/NAME.yaml`, lies over the recipe and changes sizes and back-ends
only; overrides come last.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentsearch import registry
from agentsearch.config import data_folder, merge, read_yaml, validated
from agentsearch.errors import ConfigError, did_you_mean

PROFILE_KEYS = ("accelerate", "processes", "dtype", "lora", "args")
"""What a profile may set: sizes and back-ends."""
OURS = {"output_dir": "to", "seed": "seed", "run_name": "to"}
"""Arguments of TRL that a recipe says in its own words."""

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Lora:
    """Adapters instead of all weights (Hu et al., 2021).

    Attributes:
        r: rank.
        alpha: the adapters count `alpha / r`.
        dropout: of what goes into them.
        target_modules: names of layers, those of attention and MLP unless told otherwise;
            `all-linear` takes every one but the output's, whatever they are called.
        merged: also write the whole model with the adapters in it, to `merged`.
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = LINEAR_LAYERS
    merged: bool = False

    def __post_init__(self) -> None:
        if self.r < 1:
            raise ConfigError(f"lora.r={self.r}: must be 1 or more.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lora.dropout={self.dropout}: must lie in [0, 1).")


@dataclass(frozen=True)
class Sentinels:
    """Where a training is refused or stopped; null switches one off.

    Attributes:
        max_logprob_gap: mean difference, in nats per token, between the recorded
            log-probabilities and those of the model that training starts from. More means
            another model, tokenizer or chat template than the one that was sampled.
        max_chosen_drop: nats by which chosen responses may become less likely than they were
            recorded, summed over their tokens, in the mean of a log interval; `dpo` only.
        max_kl: mean of k1 to the recorded policy, in nats per token, in a log interval.
    """

    max_logprob_gap: float | None = 0.1
    max_chosen_drop: float | None = 20.0
    max_kl: float | None = 5.0


@dataclass(frozen=True)
class TrainRecipe:
    """One training: everything that decides its result.

    Attributes:
        trainer: name of the trainer; its options stand under the same key.
        options: those options, such as `DPO(beta=0.1)`.
        model: what is trained: tiny, a folder, or ORGANISATION/NAME of the hub.
        data: folders that `agentsearch collect` made.
        to: folder of the result.
        seed: of the order of rows and of new adapters.
        dtype: what weights are kept in; arithmetic in bfloat16 is `args.bf16`.
        lora: adapters; null trains all weights.
        policy_versions: how many versions of the policy may have made the data.
        drop_too_long: leave out rows that the model cannot hold, instead of refusing them.
        limits: where a training is refused or stopped.
        args: fields of TRL's own SFTConfig or DPOConfig.
        profile: that was laid over the recipe.
        accelerate: back-end: cpu, one_gpu, ddp, fsdp2, zero3, or a file of your own.
        processes: how many train together.
    """

    trainer: str
    model: str
    data: tuple[str, ...]
    to: str
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: Lora | None = None
    policy_versions: int = 1
    drop_too_long: bool = False
    limits: Sentinels = Sentinels()
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    profile: str | None = None
    accelerate: str | None = None
    processes: int = 1
    options: Any = None

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("data: names no folder; set data=[DIR] that `collect` made.")
        for name in ("processes", "policy_versions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1.")
        for name in self.args:
            if name in OURS:
                raise ConfigError(f"args.{name}: set {OURS[name]} instead.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `load_recipe` reads them again."""
        plain = dataclasses.asdict(self)
        options = plain.pop("options")
        return json.loads(json.dumps({**plain, self.trainer: options}))  # lists for tuples


def load_recipe(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()
) -> TrainRecipe:
    """Read a recipe file or mapping, lay its profile over it, apply overrides, validate.

    Raises:
        ConfigError: no such recipe or profile, or a key or value that is wrong.
        PluginError: no such trainer.
    """
    data = dict(source) if isinstance(source, Mapping) else read_yaml(recipe_path(source))
    profile = merge(data, overrides, whole=()).get("profile")
    if profile is not None:
        data = merge(with_profile(data, str(profile)), (), whole=())
    data = merge(data, overrides, whole=())
    name = data.get("trainer")
    if not isinstance(name, str):
        raise ConfigError("trainer: is required; set trainer=sft or trainer=dpo.")
    options = validated(registry.load("trainers", name), data.pop(name, None) or {}, name)
    if "options" in data:
        raise ConfigError(f"options: unknown key; options of the trainer stand under {name}.")
    if isinstance(data.get("data"), str):
        data["data"] = [data["data"]]
    return dataclasses.replace(validated(TrainRecipe, data, ""), options=options)


def recipe_path(source: str | Path) -> Path:
    """The file that a path or short name, such as `agent_q/dpo`, stands for."""
    for path in (Path(source), data_folder("agentsearch", "recipes") / f"{source}.yaml"):
        if path.is_file():
            return path
    raise ConfigError(f"recipe {str(source)!r}: no such file; write one as docs/training.md shows.")


def with_profile(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`data` with a profile laid over it.

    Raises:
        ConfigError: no such profile, or one that sets more than sizes and back-ends.
    """
    over = read_yaml(shipped("profiles", "profile", name))
    for key in over:
        if key not in PROFILE_KEYS:
            raise ConfigError(
                f"profile {name}: sets {key}; a profile may set {', '.join(PROFILE_KEYS)}."
            )
    args = {**(data.get("args") or {}), **over.get("args", {})}
    return {**data, **over, "args": args, "profile": name}


def shipped(folder: str, key: str, name: str) -> Path:
    """A YAML file: of `recipes/FOLDER` by its name, or any by its path."""
    home = data_folder("agentsearch", "recipes") / folder
    known = sorted(path.stem for path in home.glob("*.yaml"))
    if name in known:
        return home / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    raise ConfigError(
        f"{key}={name}: no such file or name.{did_you_mean(name, known)} Known: {', '.join(known)}."
    )
