"""`agentsearch train` as a user meets it: processes, crashes, results, and refusals."""

import asyncio
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("trl", reason="needs the train extra")

from typer.testing import CliRunner  # noqa: E402

from agentsearch.cli.main import app  # noqa: E402
from agentsearch.engines.hf import HFEngine  # noqa: E402
from agentsearch.errors import ConfigError, DataError  # noqa: E402
from agentsearch.train.health import TrainingStopped  # noqa: E402
from agentsearch.train.recipe import load_recipe  # noqa: E402
from agentsearch.train.training import last_checkpoint, train  # noqa: E402
from agentsearch.types import Message, Request  # noqa: E402
from tests.integration.tiny_random import save_tiny_random  # noqa: E402
from tests.trainable import Recorder, combinations, equal_weights, save  # noqa: E402

# peft asks transformers by a name that is deprecated since 5.23
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
ARGS = {"per_device_train_batch_size": 4, "logging_steps": 1, "learning_rate": 1e-3}
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_random(tmp_path_factory.mktemp("models") / "start")


@pytest.fixture(scope="module")
def recorder(model):
    return Recorder(model)


@pytest.fixture(scope="module")
def data(tmp_path_factory, recorder):
    """A folder with successes and pairs."""
    folder = tmp_path_factory.mktemp("data") / "round-1"
    save(folder, "sft", [recorder.success(*each) for each in combinations()[:24]])
    return save(folder, "preferences", [recorder.pair(*each) for each in combinations()[:24]])


@pytest.fixture
def recipe(tmp_path, model, data):
    """A recipe as plain values, for 20 steps."""
    return {
        "model": str(model),
        "data": [data],
        "to": str(tmp_path / "result"),
        "args": {**ARGS, "max_steps": 20, "save_steps": 10},
    }


def written(recipe, path):
    path.write_text(yaml.safe_dump(recipe))
    return str(path)


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "agentsearch", "train", *args],
        env=ENV,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def here(trainer, recipe, **changes):
    """Trained in this process."""
    return train(load_recipe({**recipe, **changes, "trainer": trainer}))


def refused(trainer, recipe, error=ConfigError, **changes):
    with pytest.raises(error) as raised:
        here(trainer, recipe, **changes)
    assert "\n" not in str(raised.value)
    assert not (Path(recipe["to"]) / "train.json").exists()
    return str(raised.value)


# -- results ---------------------------------------------------------------------------


def ask(folder):
    """The policy's first words and their log-probability, by the hf engine."""
    engine = HFEngine(model=str(folder), device="cpu")

    async def reply():
        message = Message("user", "say red not ball")
        [scored] = await engine.generate(Request((message,), choices=(" red",)))
        version = engine.version
        await engine.close()
        return scored.tokens, version

    return asyncio.run(reply())


@pytest.mark.parametrize("trainer", ["sft", "dpo"])
def test_the_result_is_a_model_that_the_hf_engine_loads(tmp_path, recipe, model, trainer):
    summary = here(trainer, recipe)
    result = tmp_path / "result"
    assert summary == json.loads((result / "train.json").read_text())
    assert summary["steps"] == 20 and summary["rows"] == 24
    assert summary["metrics"]["logprob_gap/mean"] < 1e-4
    assert summary["versions"]["trl"] and list(summary["data"].values())[0]
    assert [each["step"] for each in metrics(result)] == list(range(1, 21))
    tokens, version = ask(result)
    assert version.startswith("result@") and version != ask(model)[1].replace("start", "result")
    theirs = Recorder(result).logprobs(tokens.prompt, tokens.ids)
    assert tokens.logprobs == pytest.approx(theirs, abs=1e-4)
    assert tokens.logprobs != pytest.approx(ask(model)[0].logprobs, abs=1e-2)


def test_adapters_and_the_model_with_them_merged(tmp_path, recipe, model):
    args = {**recipe["args"], "max_steps": 3, "learning_rate": 1e-2}
    lora = {"r": 4, "merged": True}
    summary = here("dpo", recipe, args=args, lora=lora)
    result = tmp_path / "result"
    assert summary["metrics"]["logprob_gap/mean"] < 1e-4  # new adapters change nothing
    assert (result / "adapter_model.safetensors").exists()
    assert not (result / "model.safetensors").exists()
    modules = json.loads((result / "adapter_config.json").read_text())["target_modules"]
    assert {"q_proj", "down_proj"} < set(modules) and len(modules) == 7
    changed = ask(result / "merged")[0].logprobs
    assert changed != pytest.approx(ask(model)[0].logprobs, abs=1e-4)
    assert ask(result)[0].logprobs == pytest.approx(changed, abs=1e-4)
    again = {**recipe, "model": str(result), "to": str(tmp_path / "next")}
    assert "holds adapters" in refused("dpo", again)


# -- crashes ---------------------------------------------------------------------------


def killed_after(recipe, checkpoint):
    """Start training by the module itself, and kill it once a checkpoint is whole."""
    path = written(recipe, Path(recipe["to"]).with_suffix(".yaml"))
    process = subprocess.Popen(
        [sys.executable, "-m", "agentsearch.train", "dpo", path],
        env=ENV,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    state = Path(recipe["to"]) / "checkpoints" / f"checkpoint-{checkpoint}" / "trainer_state.json"
    deadline = time.monotonic() + TIMEOUT_S
    while not state.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return path


def test_after_kill_9_the_same_call_ends_with_the_same_weights(tmp_path, recipe):
    recipe["args"] = {**recipe["args"], "max_steps": 60, "save_steps": 10}
    unbroken = here("dpo", recipe, to=str(tmp_path / "unbroken"))
    path = killed_after(recipe, 20)
    result = tmp_path / "result"
    assert not (result / "train.json").exists()
    done = command("dpo", path, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    first = min(int(line.split("/")[0][5:]) for line in done.stderr.splitlines() if "/60" in line)
    assert first > 20  # it did not begin anew
    assert summary["steps"] == unbroken["steps"] == 60
    assert [each["step"] for each in metrics(result)] == list(range(1, 61))
    assert equal_weights(result, tmp_path / "unbroken")
    assert command("dpo", path, "--json").stdout == done.stdout  # it is done: nothing is trained


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    for step in (9, 10, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step, text in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (20, '{"glob')):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path / "none") is None


def test_another_recipe_is_not_mixed_into_a_folder(tmp_path, recipe):
    short = {**recipe, "args": {**ARGS, "max_steps": 1}}
    here("sft", short)
    with pytest.raises(ConfigError, match="another recipe .differs in seed"):
        here("sft", short, seed=5)
    unfinished = {**short, "to": str(tmp_path / "refused"), "data": []}
    (tmp_path / "refused").mkdir()
    (tmp_path / "refused" / "recipe.json").write_text(json.dumps(unfinished))
    here("sft", short, to=str(tmp_path / "refused"))  # nothing was trained there yet
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        here("sft", short, to=str(tmp_path / "full"))


# -- several processes -----------------------------------------------------------------


@pytest.mark.parametrize("trainer", ["sft", "dpo"])
def test_two_processes_on_the_cpu_train_together(tmp_path, recipe, trainer):
    path = written(recipe, tmp_path / "recipe.yaml")
    half = "args.per_device_train_batch_size=2"
    done = command(trainer, path, "accelerate=cpu", "processes=2", half, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["steps"], summary["processes"]) == (20, 2)
    here(trainer, recipe, to=str(tmp_path / "alone"))
    both, alone = metrics(tmp_path / "result"), metrics(tmp_path / "alone")
    assert [each["step"] for each in both] == list(range(1, 21))  # one process alone writes
    assert [e["num_tokens"] for e in both] == [e["num_tokens"] for e in alone]
    losses = [e["loss"] for e in alone]  # of the same rows, four at a time in one process
    assert [e["loss"] for e in both] == pytest.approx(losses, rel=1e-2)


# -- refusals, each before compute is spent --------------------------------------------


def changed_data(tmp_path, kind, rows):
    return [save(tmp_path / "changed", kind, rows)]


def test_mixed_versions_missing_rows_and_long_rows_are_refused(tmp_path, recipe, recorder):
    pair = recorder.pair("red", "ball")
    mixed = [pair, dataclasses.replace(pair, policy_version="policy@2")]
    text = refused("dpo", recipe, data=changed_data(tmp_path, "preferences", mixed))
    assert "2 versions" in text and "1 rows by policy@1" in text
    text = refused("dpo", recipe, data=changed_data(tmp_path, "preferences", []))
    assert "no pair above the threshold" in text
    text = refused("sft", recipe, data=changed_data(tmp_path, "sft", []))
    assert "no success" in text
    text = refused("dpo", recipe, args={"max_length": 12})
    assert "24 of 24 rows are longer than the 12 tokens" in text


def test_missing_log_probabilities_and_equal_pairs_are_refused(tmp_path, recipe, recorder):
    row = recorder.success("red", "ball")
    lost = dataclasses.replace(row, logprobs=(math.nan,) * len(row.logprobs))
    text = refused("sft", recipe, DataError, data=changed_data(tmp_path, "sft", [row, lost, lost]))
    assert "logprobs" in text and "2 such rows" in text
    pair = recorder.pair("red", "ball")
    same = {name: getattr(pair, f"chosen_{name}") for name in ("ids", "mask", "turn_ids")}
    same = {f"rejected_{name}": value for name, value in same.items()}
    same |= {"rejected_logprobs": pair.chosen_logprobs, "ref_rejected_logps": pair.ref_chosen_logps}
    rows = [dataclasses.replace(pair, **same)]
    text = refused("dpo", recipe, DataError, data=changed_data(tmp_path, "preferences", rows))
    assert "same token ids" in text


def test_a_tokenizer_that_differs_and_another_model_are_refused(tmp_path, recipe, recorder):
    other = save_tiny_random(tmp_path / "other", vocab_size=300)
    assert "tokenizer" in refused("dpo", recipe, model=str(other))
    drifted = save_tiny_random(tmp_path / "drifted", seed=7)
    text = refused("dpo", recipe, model=str(drifted), to=str(tmp_path / "drift"))
    assert "nats a token" in text and "another model" in text
    limits = {"max_logprob_gap": None, "max_kl": None, "max_chosen_drop": None}
    args = {**ARGS, "max_steps": 1}
    done = here(
        "sft", recipe, model=str(drifted), to=str(tmp_path / "base"), limits=limits, args=args
    )
    assert done["metrics"]["logprob_gap/mean"] > 0.1  # told nevertheless


def test_a_sentinel_stops_a_training_and_no_result_is_left(tmp_path, recipe):
    args = {**recipe["args"], "learning_rate": 0.5}
    text = refused("sft", recipe, TrainingStopped, args=args, limits={"max_kl": 0.5})
    assert "max_kl=0.5" in text
    assert not (tmp_path / "result" / "model.safetensors").exists()


# -- the command -----------------------------------------------------------------------


def run(*args):
    return CliRunner().invoke(app, ["train", *args], catch_exceptions=False)


def test_a_users_mistake_is_one_sentence_and_code_2(tmp_path, recipe):
    path = written(recipe, tmp_path / "recipe.yaml")
    early = run("dpo", path, "dpo.betta=1")
    assert (early.exit_code, early.stdout) == (2, "")
    assert early.stderr.startswith("Error: dpo.betta: unknown key.")
    late = command("dpo", path, "args.max_length=5")  # found by the process that trains
    assert (late.returncode, late.stdout) == (2, "")
    assert late.stderr.splitlines()[-1].startswith("Error: data: 24 of 24 rows are longer")
    assert "Traceback" not in late.stderr


def test_a_stopped_training_is_one_sentence_and_code_1_from_two_processes(tmp_path, recipe):
    path = written({**recipe, "limits": {"max_kl": 0.5}}, tmp_path / "recipe.yaml")
    done = command("sft", path, "args.learning_rate=0.5", "accelerate=cpu", "processes=2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "max_kl=0.5" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_sigterm_ends_the_processes_too(tmp_path, recipe):
    recipe["args"] = {**recipe["args"], "max_steps": 100_000}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "agentsearch", "train", "dpo"),
            written(recipe, tmp_path / "recipe.yaml"),
        ],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("step 3/"):
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    file = tmp_path / "result" / "metrics.jsonl"
    size = file.stat().st_size
    time.sleep(0.5)
    assert file.stat().st_size == size


@pytest.mark.parametrize(("trainer", "sequences"), [("sft", 1), ("dpo", 2)])
def test_a_dry_run_estimates_and_writes_nothing(tmp_path, recipe, trainer, sequences):
    path = written(recipe, tmp_path / "recipe.yaml")
    before = sorted(tmp_path.iterdir())
    shown = run(trainer, path, "--dry-run", "--tokens-per-second", "100", "--json")
    found = json.loads(shown.stdout)
    assert (found["rows"], found["steps"]) == (24, 20)
    assert found["parameters"] == found["trainable"] > 10_000
    an_epoch = math.ceil(24 / 4)
    assert found["seconds"] == pytest.approx(found["tokens"] * 20 / an_epoch / 100)
    assert found["estimated"] == ["memory_gb", "seconds"]
    assert "a guess" in run(trainer, path, "--dry-run").stdout
    assert sorted(tmp_path.iterdir()) == before


def test_the_smoke_profile_trains(tmp_path, recipe):
    summary = here("dpo", recipe, profile="smoke_cpu")
    assert summary["steps"] == 5
