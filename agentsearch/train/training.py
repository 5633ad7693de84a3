"""One training from its recipe to the folder of its result, in each of its processes.

    TO/recipe.json      the recipe and hashes of its data; another recipe is refused here
       checkpoints/     of TRL; the newest whole one is where a training goes on
       metrics.jsonl    what was measured
       train.json       the summary
       *.safetensors    the weights, or the adapters, with tokenizer and chat template
       merged/          all weights with the adapters in them, where lora.merged asks for it

The summary is written last: with it the training is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PrinterCallback

from agentsearch.data import rows as data_rows
from agentsearch.engines.hf import find_model
from agentsearch.errors import ConfigError
from agentsearch.train import checks
from agentsearch.train.health import Health, TrainingStopped
from agentsearch.train.recipe import Lora, TrainRecipe

RECORD, SUMMARY, CHECKPOINTS = "recipe.json", "train.json", "checkpoints"
PACKAGES = ("agentsearch", "torch", "transformers", "trl", "peft", "accelerate", "datasets")


def train(recipe: TrainRecipe) -> dict[str, Any]:
    """Train, or go on where an earlier call was interrupted; what `train.json` says.

    Raises:
        ConfigError: recipe, data and model do not fit together.
        DataError: the data cannot be read.
        TrainingStopped: a sentinel stopped it.
    """
    folder, main = Path(recipe.to), int(os.environ.get("RANK", "0")) == 0
    options, kind = recipe.options, recipe.options.rows
    record = {"recipe": recipe.to_dict(), "data": hashes(recipe)}
    if (done := finished(folder, record, main)) is not None:
        return done
    rows = options.select(data_rows.load(recipe.data, kind))
    checks.check_rows(rows, recipe)
    home = find_model(recipe.model)
    if (home / "adapter_config.json").exists():
        raise ConfigError(
            f"model: {home} holds adapters; train on from the whole model (lora.merged=true)."
        )
    config = AutoConfig.from_pretrained(home)
    tokenizer = AutoTokenizer.from_pretrained(home)
    text = config.get_text_config()
    most = min(recipe.args.get("max_length") or most_tokens(text), most_tokens(text))
    rows, dropped = checks.fitting(rows, most, recipe.drop_too_long)
    checks.check_tokenizer(rows, kind, tokenizer, text.vocab_size)
    rows = checks.mean_one(rows, options.use_weights)
    sizes = checks.lengths(rows)
    if main:
        begin(folder, record)

    health = Health(recipe.limits, folder / "metrics.jsonl")
    args = {**recipe.args, "output_dir": str(folder / CHECKPOINTS), "seed": recipe.seed}
    settings = options.config(args)  # before the model: DeepSpeed then shards it while it loads
    dtype = getattr(torch, recipe.dtype)
    trainer = options.trainer(
        settings,
        rows,
        sizes,
        model=AutoModelForCausalLM.from_pretrained(home, dtype=dtype, use_safetensors=True),
        processing_class=tokenizer,
        peft_config=lora_config(recipe.lora),
        health=health,
        callbacks=[health],
    )
    if trainer.aux_loss_enabled:
        raise ConfigError(
            "model: balances experts by a loss of its own, which is left out here; set "
            "args.router_aux_loss_coef=0 to train without."
        )
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    with out_of_memory_explained(max(sizes), trainer.args):
        trainer.train(resume_from_checkpoint=last_checkpoint(folder / CHECKPOINTS))
    seconds = time.monotonic() - started
    trainer.save_model(str(folder))
    if recipe.lora is not None and recipe.lora.merged and main:
        merge(home, folder, tokenizer)
    summary = {
        **record,
        "steps": trainer.state.global_step,
        "rows": len(rows),
        "too_long": dropped,
        "seconds": round(seconds, 1),
        "processes": trainer.args.world_size,
        "device": str(trainer.args.device.type),
        "metrics": measured(folder / "metrics.jsonl"),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    PartialState().wait_for_everyone()
    if main:
        write_whole(folder / SUMMARY, summary)
    PartialState().destroy_process_group()
    return summary


def most_tokens(config: Any) -> int:
    """Tokens that a model holds."""
    return int(getattr(config, "max_position_embeddings", None) or sys.maxsize)


def hashes(recipe: TrainRecipe) -> dict[str, str]:
    """SHA-256 of each file of rows, by its path."""
    found: dict[str, str] = {}
    for folder in recipe.data:
        path = data_rows.path_of(folder, recipe.options.rows)
        if path.is_file():  # where not, reading it says how to make it
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def finished(folder: Path, record: dict[str, Any], main: bool) -> dict[str, Any] | None:
    """The summary of a training that is done; None where it has to begin or go on.

    Args:
        folder: of the result.
        record: of the training.
        main: whether this is the first process, which may be writing there already.

    Raises:
        ConfigError: the folder holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        before = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        if not main:
            return None
        raise ConfigError(f"to={folder}: holds something else; choose another folder.") from None
    begun = (folder / SUMMARY).exists() or last_checkpoint(folder / CHECKPOINTS) is not None
    if begun and before != record:
        parts = [("recipe", k) for k in record["recipe"]] + [("data", k) for k in record["data"]]
        differ = [k for part, k in parts if before[part].get(k) != record[part][k]]
        raise ConfigError(
            f"to={folder}: holds a training of another recipe (differs in {', '.join(differ)}); "
            "choose another folder, or go on with that recipe."
        )
    with suppress(OSError):
        return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return None


def begin(folder: Path, record: dict[str, Any]) -> None:
    """Note what is trained here."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RECORD, record)


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON; after a crash it is there whole or not at all."""
    part = path.with_suffix(".partial")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; None where there is none.

    TRL writes the trainer's state last, so that what was cut off has none.
    """
    whole: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        with suppress(OSError, ValueError):
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            whole[int(state["global_step"])] = path
    return str(whole[max(whole)]) if whole else None


def lora_config(lora: Lora | None) -> LoraConfig | None:
    """The adapters as PEFT describes them."""
    if lora is None:
        return None
    modules = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        task_type="CAUSAL_LM",
    )


def merge(base: Path, folder: Path, tokenizer: Any) -> None:
    """Write the whole model with the adapters of `folder` in it, to `folder/merged`."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
    merged.save_pretrained(folder / "merged")
    tokenizer.save_pretrained(folder / "merged")


def measured(file: Path) -> dict[str, float]:
    """The last record, with the gap to the recorded log-probabilities from the first."""
    with suppress(OSError, IndexError):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return {**{k: v for k, v in lines[0].items() if k.startswith("logprob_gap")}, **lines[-1]}
    return {}


@contextmanager
def out_of_memory_explained(longest: int, args: Any) -> Generator[None]:
    """Say what a batch that does not fit consists of.

    Raises:
        TrainingStopped: the block ran out of the GPU's memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as cause:
        raise TrainingStopped(
            f"Out of memory: rows have up to {longest} tokens, {args.per_device_train_batch_size} "
            "at a time. Lower args.per_device_train_batch_size and raise "
            "args.gradient_accumulation_steps, set args.gradient_checkpointing=true, or use lora."
        ) from cause
