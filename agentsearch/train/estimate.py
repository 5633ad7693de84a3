"""What a training would take, guessed before it starts: `agentsearch train --dry-run`.

Nothing here needs torch: parameters are counted in the headers of the weight files.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentsearch.data import rows as data_rows
from agentsearch.engines.hf import find_model
from agentsearch.train.recipe import Lora, TrainRecipe

BYTES = {"float32": 4, "bfloat16": 2}
SHARDED = ("fsdp2", "zero3")
"""Back-ends that spread weights, gradients and Adam's moments over the processes."""
EPOCHS, BATCH = 3.0, 8
"""What TRL takes where `args` say nothing."""
FULL, CHECKPOINTED = 17, 1
"""Values kept for the backward pass per token, layer and hidden unit: a transformer's 34 bytes
in 16 bits, without attention maps, and the layers' inputs alone where the rest is computed
again. Source: Korthikanti et al., 2022, Reducing activation recomputation, section 4."""


@dataclass(frozen=True)
class Estimate:
    """Sizes of a training; memory and time are guesses.

    Attributes:
        rows, tokens: of an epoch; tokens without padding, prompts included.
        longest: tokens of the longest row.
        steps: of the optimizer, in all.
        parameters, trainable: of the model, and those that are trained.
        memory_gb: of each process, by what takes it; a guess.
        seconds: at `tokens_per_second`; None where that is not given.
    """

    rows: int
    tokens: int
    longest: int
    steps: int
    parameters: int
    trainable: int
    memory_gb: dict[str, float]
    seconds: float | None


def estimate(recipe: TrainRecipe, tokens_per_second: float | None = None) -> Estimate:
    """Guess from a recipe, its data and the files of its model.

    Args:
        recipe: of the training.
        tokens_per_second: of all processes together, as a run logs it.

    Raises:
        ConfigError: there is no such model.
        DataError: the data cannot be read.
    """
    from agentsearch.train import checks

    rows = recipe.options.select(data_rows.load(recipe.data, recipe.options.rows))
    checks.check_rows(rows, recipe)
    home = find_model(recipe.model)
    model = json.loads((home / "config.json").read_text(encoding="utf-8"))
    responses = len(checks.RESPONSES[recipe.options.rows])
    return guess(
        recipe, checks.lengths(rows), responses, weight_shapes(home), model, tokens_per_second
    )


def guess(
    recipe: TrainRecipe,
    sizes: list[int],
    responses: int,
    shapes: dict[str, tuple[int, ...]],
    model: dict[str, Any],
    tokens_per_second: float | None = None,
) -> Estimate:
    """Sizes of a training by plain arithmetic.

    Args:
        recipe: of the training.
        sizes: tokens of each row; of a pair those of prompt and longer response.
        responses: sequences that a row makes: 1, or 2 of a pair.
        shapes: of the model's weights by name.
        model: its `config.json`.
        tokens_per_second: of all processes together.
    """
    args = recipe.args
    batch = int(args.get("per_device_train_batch_size", BATCH))
    accumulated = int(args.get("gradient_accumulation_steps", 1))
    batches = math.ceil(len(sizes) / (batch * recipe.processes))
    an_epoch = max(1, math.ceil(batches / accumulated))
    steps = int(args.get("max_steps", -1))
    if steps < 0:
        steps = math.ceil(float(args.get("num_train_epochs", EPOCHS)) * an_epoch)
    tokens, longest = responses * sum(sizes), max(sizes)
    parameters = sum(math.prod(shape) for shape in shapes.values())
    trainable = parameters if recipe.lora is None else lora_parameters(shapes, recipe.lora)
    shared = recipe.processes if recipe.accelerate in SHARDED else 1
    kept = CHECKPOINTED if args.get("gradient_checkpointing") else FULL
    units = model.get("hidden_size", 0) * model.get("num_hidden_layers", 0)
    size = BYTES[recipe.dtype]
    memory = {
        "weights": parameters * size / shared,
        "gradients": trainable * size / shared,
        "adam": 2 * trainable * size / shared,
        "activations": responses * batch * longest * units * kept * (2 if args.get("bf16") else 4),
    }
    return Estimate(
        rows=len(sizes),
        tokens=tokens,
        longest=longest,
        steps=steps,
        parameters=parameters,
        trainable=trainable,
        memory_gb={name: round(value / 1e9, 3) for name, value in memory.items()},
        seconds=tokens * steps / an_epoch / tokens_per_second if tokens_per_second else None,
    )


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's weights, from the headers of its safetensors."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        found |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    return found


def lora_parameters(shapes: dict[str, tuple[int, ...]], lora: Lora) -> int:
    """Parameters of the adapters: r (in + out) for every adapted layer."""

    def adapted(name: str, shape: tuple[int, ...]) -> bool:
        layer = name.removesuffix(".weight").rpartition(".")[2]
        if lora.target_modules == "all-linear":
            return len(shape) == 2 and not layer.startswith(("embed", "lm_head", "wte", "wpe"))
        wanted = lora.target_modules
        return layer in ((wanted,) if isinstance(wanted, str) else wanted) and len(shape) == 2

    return sum(lora.r * sum(shape) for name, shape in shapes.items() if adapted(name, shape))
