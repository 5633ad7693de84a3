"""Train the built-in model: settings, data, model, loop, log; read from top to bottom.

Start it with `torchrun --nproc_per_node 2 --module recipes.tiny.train`, one thread for each
process. The examples of a step are a function of (seed, step, process), so a checkpoint of
weights, optimizer and step number is all that an exact continuation needs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentsearch.engines.hf import find_model
from recipes.tiny.demonstrations import ROLES, Encoder, batch, demonstrations, in_groups
from recipes.tiny.model import Example, Learner, new_model
from recipes.tiny.settings import PROFILE, Settings, load


def scheduled_rate(step: int, settings: Settings) -> float:
    """The learning rate of a step, which begins again after `steps`.

    Source: SGDR (Loshchilov and Hutter, 2017).
    """
    if step < settings.steps:
        return learning_rate(step, settings)
    again = replace(settings.at(step), steps=settings.restart_steps)
    return learning_rate(step - settings.steps, again)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, a cosine over the planned steps, and a linear end where it is cut short."""
    cooldown = settings.steps - settings.cooldown_steps
    if step > cooldown:
        left = (settings.steps - step) / settings.cooldown_steps
        low = settings.learning_rate * settings.final_share
        return low + left * (learning_rate(cooldown, settings) - low)
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / (settings.planned_steps - settings.warmup_steps)
    low = settings.final_share
    return settings.learning_rate * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


def new_optimizer(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def dev_examples(settings: Settings, encoder: Encoder) -> dict[str, list[list[Example]]]:
    """A fixed set of dev demonstrations by role, only ever measured."""
    rng = random.Random(f"{settings.seed}/dev")
    made = demonstrations(settings, settings.dev_examples, rng, split="dev")
    roles = {
        f"{name}_{role}": [encoder.example(d) for d in each if d.role == role]
        for name, each in made.items()
        for role in ROLES
    }
    return {role: in_groups(examples) for role, examples in roles.items() if examples}


def first_weights(settings: Settings) -> dict[str, torch.Tensor]:
    """The weights to go on from: what `copying` made, else those of the shipped model."""
    start = settings.build / "start.pt"
    if settings.webshop_pages and start.exists():
        return torch.load(start)
    model = AutoModelForCausalLM.from_pretrained(find_model(settings.init), dtype=torch.float32)
    return model.state_dict()


def measure(learner: Learner, data: dict[str, list[list[Example]]]) -> dict[str, float]:
    """Loss on dev demonstrations, by role."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        return {f"dev_{role}": learner(groups).item() for role, groups in data.items()}


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(content, part)
    os.replace(part, path)


def processes() -> tuple[int, int]:
    """This process's rank and how many there are; joins the group under torchrun."""
    if "RANK" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo")
    if not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def train(settings: Settings, *, resume: bool = False) -> Iterator[dict[str, float]]:
    """Train to the end, yielding the metrics of every logged step."""
    rank, world = processes()
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)

    tokenizer = AutoTokenizer.from_pretrained(settings.build / "tokenizer")
    encoder = Encoder(tokenizer)
    dev = dev_examples(settings, encoder)

    learner = Learner(new_model(settings, tokenizer))
    if settings.init is not None:
        learner.model.load_state_dict(first_weights(settings))
    optimizer = new_optimizer(learner.model, settings)
    checkpoint = settings.build / "checkpoint.pt"
    first, spent, spent_cpu = 0, 0.0, 0.0
    if resume and checkpoint.exists():
        loaded = torch.load(checkpoint)
        learner.model.load_state_dict(loaded["model"])
        optimizer.load_state_dict(loaded["optimizer"])
        first, spent, spent_cpu = loaded["step"], loaded["seconds"], loaded["cpu_seconds"]
    trained = DistributedDataParallel(learner) if dist.is_initialized() else learner

    def state(step: int) -> dict[str, Any]:
        return {
            "step": step,
            "seconds": spent + time.monotonic() - started,
            "cpu_seconds": spent_cpu + world * (time.process_time() - started_cpu),
            "model": learner.model.state_dict(),
            "optimizer": optimizer.state_dict(),
        }

    started_cpu = time.process_time()
    started = saved = logged = time.monotonic()
    for step in range(first, settings.total_steps):
        rate = scheduled_rate(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = trained(batch(settings.at(step), encoder, step, rank))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(learner.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()

        last = step + 1 == settings.total_steps
        if (step + 1) % settings.log_steps == 0 or last:
            now = time.monotonic()
            row = {"step": step + 1, "loss": loss.item(), "rate": rate, "norm": norm.item()}
            row["step_s"] = (now - logged) / settings.log_steps
            row["minutes"] = (spent + now - started) / 60
            if rank == 0 and ((step + 1) % settings.dev_steps == 0 or last):
                row |= measure(learner, dev)
            logged = time.monotonic()
            yield row
        if rank == 0 and (last or time.monotonic() - saved > 60 * settings.checkpoint_minutes):
            save(checkpoint, state(step + 1))
            saved = time.monotonic()
    if rank == 0:
        write_record(settings, world)


def write_record(settings: Settings, world: int) -> None:
    """What the finished training cost, in `training.json`, for the evaluation and the card."""
    end = torch.load(settings.build / "checkpoint.pt", mmap=True)
    record = {
        "steps": end["step"],
        "sequences": sum(settings.at(step).batch_size for step in range(end["step"])) * world,
        "processes": world,
        "wall_minutes": round(end["seconds"] / 60, 1),
        "cpu_minutes": round(end["cpu_seconds"] / 60, 1),
        "seed": settings.seed,
    }
    (settings.build / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def main() -> None:
    """Train a profile and append its metrics to `metrics.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, help="for trials only")
    arguments = parser.parse_args()
    changes = {} if arguments.steps is None else {"steps": arguments.steps}
    settings = load(arguments.profile, **changes)
    rank, _ = processes()
    with open(settings.build / "metrics.jsonl", "a" if arguments.resume else "w") as log:
        for row in train(settings, resume=arguments.resume):
            if rank == 0:
                text = json.dumps({k: round(v, 6) for k, v in row.items()})
                print(text, flush=True)
                print(text, file=log, flush=True)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
