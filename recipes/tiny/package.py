"""Turn a checkpoint into the folder that is shipped, install it, and write its card."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoTokenizer, GenerationConfig

from recipes.tiny.card import card
from recipes.tiny.model import new_model
from recipes.tiny.settings import HERE, PROFILE, Settings, load

MODELS = HERE.parents[1] / "agentsearch" / "_models"


def export(settings: Settings) -> Path:
    """Write weights in bfloat16, configuration and tokenizer; the folder's path."""
    folder = settings.build / settings.name
    tokenizer = AutoTokenizer.from_pretrained(settings.build / "tokenizer")
    model = new_model(settings, tokenizer)
    model.load_state_dict(torch.load(settings.build / "checkpoint.pt", mmap=True)["model"])
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    # A name that transformers 4 and vLLM know as well.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return folder


def install(settings: Settings, models: Path = MODELS) -> Path:
    """Write the card and replace the shipped folder; its new path."""
    folder, target = settings.build / settings.name, models / settings.name
    write_card(settings, folder)
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(folder.iterdir()):
        part = target / f".{source.name}.part"
        shutil.copyfile(source, part)
        part.replace(target / source.name)
    return target


def write_card(settings: Settings, folder: Path) -> None:
    """The card of a folder, from its evaluation."""
    evaluation = json.loads((folder / "evaluation.json").read_text())
    (folder / "README.md").write_text(card(settings, evaluation))


def main() -> None:
    """Export, install what was exported and evaluated, or write the card of what is installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("export", "install", "card"))
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--models", type=Path, default=MODELS)
    arguments = parser.parse_args()
    settings = load(arguments.profile)
    if arguments.stage == "export":
        export(settings)
    elif arguments.stage == "install":
        install(settings, arguments.models)
    else:
        write_card(settings, arguments.models / settings.name)


if __name__ == "__main__":
    main()
