"""Each trainer solves the identity task: say the word that is asked for.

A random model of two layers learns it from some combinations of words and is tried on
others. The result is loaded by the hf engine, as search does.
"""

import asyncio
import random

import pytest

pytest.importorskip("trl", reason="needs the train extra")

from agentsearch.engines.hf import HFEngine  # noqa: E402
from agentsearch.train.recipe import load_recipe  # noqa: E402
from agentsearch.train.training import train  # noqa: E402
from agentsearch.types import Message, Request  # noqa: E402
from tests.integration.tiny_random import save_tiny_random  # noqa: E402
from tests.trainable import Recorder, combinations, save  # noqa: E402

ARGS = {
    "learning_rate": 4e-3,
    "per_device_train_batch_size": 14,
    "logging_steps": 20,
    "save_strategy": "no",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return save_tiny_random(tmp_path_factory.mktemp("start"), spread=0.02)


@pytest.fixture(scope="module")
def words():
    """(wanted, other) to learn from, and others held out."""
    found = combinations()
    random.Random(0).shuffle(found)
    return found[:42], found[42:]


def said(model, pairs):
    """What the policy says first to each, at temperature 0."""
    engine = HFEngine(model=str(model), device="cpu")

    async def ask():
        texts = [f"say {wanted} not {other}" for wanted, other in pairs]
        requests = [
            Request((Message("user", text),), max_tokens=4, temperature=0.0) for text in texts
        ]
        replies = await asyncio.gather(*map(engine.generate, requests))
        await engine.close()
        return [reply.text for [reply] in replies]

    return asyncio.run(ask())


def trained(tmp_path, trainer, start, data, **changes):
    recipe = {
        "trainer": trainer,
        "model": str(start),
        "data": [data],
        "to": str(tmp_path / "result"),
        "limits": {"max_chosen_drop": None, "max_kl": None},
        **changes,
    }
    return train(load_recipe(recipe)), tmp_path / "result"


def test_sft_learns_to_say_what_is_asked_for(tmp_path, start, words):
    known, held_out = words
    recorder = Recorder(start)
    data = save(tmp_path / "data", "sft", [recorder.success(*each) for each in known])
    summary, result = trained(tmp_path, "sft", start, data, args={**ARGS, "max_steps": 240})
    assert summary["steps"] == 240 and summary["metrics"]["loss"] < 0.1
    right = [text == f" {w}" for text, (w, _) in zip(said(result, held_out), held_out, strict=True)]
    assert sum(right) >= 0.9 * len(right)
    before = [t == f" {w}" for t, (w, _) in zip(said(start, held_out), held_out, strict=True)]
    assert sum(before) <= 0.2 * len(before)


def prefers(model, pairs):
    """Whether the wanted word is likelier than the other one."""
    recorder = Recorder(model)
    found = []
    for wanted, other in pairs:
        prompt = recorder.prompt(f"say {wanted} not {other}")
        logps = [sum(recorder.logprobs(prompt, recorder.answer(f" {w}"))) for w in (wanted, other)]
        found.append(logps[0] > logps[1])
    return found


def test_dpo_learns_to_prefer_what_is_asked_for(tmp_path, start, words):
    known, held_out = words
    recorder = Recorder(start)
    data = save(tmp_path / "data", "preferences", [recorder.pair(*each) for each in known])
    args, options = {**ARGS, "max_steps": 160}, {"nll": 0.5}
    summary, result = trained(tmp_path, "dpo", start, data, args=args, dpo=options)
    assert summary["metrics"]["rewards/accuracies"] >= 0.95
    assert summary["metrics"]["chosen_drop"] < 0  # what nll is for
    assert sum(prefers(result, held_out)) >= 0.9 * len(held_out)
    assert sum(prefers(start, held_out)) <= 0.8 * len(held_out)
