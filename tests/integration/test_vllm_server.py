"""The openai engine against a real vLLM server with `tiny`, on the CPU or a GPU.

Run where vLLM is installed: python -m pytest tests/integration/test_vllm_server.py
"""

import asyncio
import importlib.util
import urllib.request
from collections.abc import Iterator

import pytest

from agentsearch.engines.hf import HFEngine
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.errors import CannotScore, EngineError
from agentsearch.serve import served
from agentsearch.types import Completion, Message, Request

if importlib.util.find_spec("vllm") is None:
    pytest.skip("needs vllm, which is not installed", allow_module_level=True)

MODEL = "tiny-v2"
CONTEXT = 1024
WORLD = (
    Message("system", "You are in a grid world. Go to the red ball.\nReply with the next action."),
    Message("user", "You see a wall 2 steps left. You see a red ball 3 steps forward."),
)
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "go", "")
CLOSE = 2e-3
"""Most that log-probabilities may differ by, in float32 with sums in another order."""


@pytest.fixture(scope="module", params=["plain", "adapters"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server after the other; starting takes seconds, on busy cores minutes."""
    logs = tmp_path_factory.mktemp(request.param)
    flags = ("--no-enable-lora",) if request.param == "plain" else ()
    with served(
        MODEL, name="tiny", max_model_len=CONTEXT, max_num_seqs=64, flags=flags, logs=logs
    ) as address:
        yield address


def ask(engine: OpenAIEngine | HFEngine, *requests: Request) -> list[list[Completion]]:
    async def main() -> list[list[Completion]]:
        try:
            return await asyncio.gather(*(engine.generate(request) for request in requests))
        finally:
            await engine.close()

    return asyncio.run(main())


def page(url: str, path: str) -> str:
    with urllib.request.urlopen(url.removesuffix("/v1") + path, timeout=30) as reply:
        return reply.read().decode()


def metric(url: str, name: str) -> float:
    lines = page(url, "/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def agree(one: list[Completion], other: list[Completion]) -> None:
    """The same tokens, and log-probabilities that differ by rounding alone."""
    for a, b in zip(one, other, strict=True):
        assert a.tokens is not None and b.tokens is not None
        assert (a.tokens.prompt, a.tokens.ids) == (b.tokens.prompt, b.tokens.ids)
        assert a.tokens.logprobs == pytest.approx(b.tokens.logprobs, abs=CLOSE)


@pytest.mark.parametrize("url", ["plain"], indirect=True)
def test_both_ways_of_scoring_agree_with_each_other_and_with_hf(url: str):
    request = Request(WORLD, choices=ACTIONS)
    (walked,) = ask(OpenAIEngine("tiny", url, scoring="walk"), request)
    (filled,) = ask(OpenAIEngine("tiny", url, scoring="prefill"), request)
    (expected,) = ask(HFEngine(MODEL), request)
    agree(walked, filled)
    agree(walked, expected)


@pytest.mark.parametrize("url", ["adapters"], indirect=True)
def test_with_adapters_texts_are_scored_by_walking_alone(url: str):
    request = Request(WORLD, choices=ACTIONS)
    engine = OpenAIEngine("tiny", url)
    (walked,) = ask(engine, request)
    assert engine.counts["scored_by_walk"] == 1
    (expected,) = ask(HFEngine(MODEL), request)
    agree(walked, expected)
    with pytest.raises(CannotScore, match="--enable-lora"):
        ask(OpenAIEngine("tiny", url, scoring="prefill"), request)


def test_a_walk_reads_the_prompt_from_the_cache(url: str):
    long = (Message("system", f"{'Mind the wall. ' * 60}{WORLD[0].content}"), WORLD[1])
    engine = OpenAIEngine("tiny", url, scoring="walk", memory=0)
    before = metric(url, "vllm:prefix_cache_hits_total")
    ((first, *_),) = ask(engine, Request(long, choices=ACTIONS))
    hits = metric(url, "vllm:prefix_cache_hits_total") - before
    assert first.cached_tokens == 0
    # of ten places all but the first read it, less the last block of up to 128 tokens
    assert 4 * first.prompt_tokens < hits < 9 * first.prompt_tokens
    ((again, *_),) = ask(engine, Request(long, choices=ACTIONS))
    assert again.cached_tokens > first.prompt_tokens - 128


def test_greedy_samples_have_the_tokens_of_hf_and_the_scores_of_given_text(url: str):
    request = Request(WORLD, temperature=0.0, max_tokens=16)
    (sampled,) = ask(OpenAIEngine("tiny", url), request)
    (expected,) = ask(HFEngine(MODEL), request)
    agree(sampled, expected)
    ((scored,),) = ask(OpenAIEngine("tiny", url), Request(WORLD, choices=(sampled[0].text,)))
    assert scored.logprob == pytest.approx(sampled[0].logprob, abs=CLOSE)


def test_walks_beside_samples_change_neither(url: str):
    """One batch of the server holds requests with and without named tokens."""
    engine = OpenAIEngine("tiny", url, scoring="walk")
    samples = [Request(WORLD, n=2, max_tokens=8, seed=seed) for seed in range(6)]
    walks = [Request(WORLD, choices=ACTIONS[i:]) for i in range(6)]
    mixed = ask(engine, *(each for pair in zip(samples, walks, strict=True) for each in pair))
    for scored, walk in zip(mixed[1::2], walks, strict=True):
        (alone,) = ask(engine, walk)
        agree(scored, alone)
    for sampled in mixed[::2]:
        for each in sampled:
            assert each.tokens is not None
            assert len(each.tokens.ids) == each.generated_tokens
            assert all(-50 < logprob <= 0 for logprob in each.tokens.logprobs)


def test_a_forced_choice_is_one_of_the_texts_and_no_other(url: str):
    among = ("pick up the zebra", "go forward")
    request = Request(WORLD, n=4, among=among, max_tokens=40, seed=1)
    (forced,) = ask(OpenAIEngine("tiny", url), request)
    assert {each.text for each in forced} <= set(among)
    assert {each.finish for each in forced} == {"stop"}
    only = Request(WORLD, among=among[:1], max_tokens=40)
    ((one,),) = ask(OpenAIEngine("tiny", url), only)
    assert one.text == among[0]
    ((scored,),) = ask(OpenAIEngine("tiny", url), Request(WORLD, choices=among[:1]))
    assert scored.logprob is not None and scored.logprob < -5  # unlikely, had it been free


def test_what_does_not_fit_is_refused_before_it_is_sent(url: str):
    engine = OpenAIEngine("tiny", url)
    ((reply,),) = ask(engine, Request(WORLD, max_tokens=1))
    prompt = reply.prompt_tokens
    ask(engine, Request(WORLD, max_tokens=CONTEXT - prompt, temperature=0.0))
    before = engine.counts["requests"]
    words = f"The prompt has {prompt} tokens and {CONTEXT - prompt + 1} more are wanted, but tiny "
    with pytest.raises(EngineError, match=f"{words}holds {CONTEXT}"):
        ask(engine, Request(WORLD, max_tokens=CONTEXT - prompt + 1))
    assert engine.counts["requests"] == before + 1  # to count the prompt
    assert engine.counts["context_overflows"] == 1


def test_checking_is_content_with_it(url: str):
    async def main() -> None:
        engine = OpenAIEngine("tiny", url)
        await engine.check()
        assert "tiny" in await engine.served()
        await engine.close()

    asyncio.run(main())


def test_equal_seeds_give_equal_samples(url: str):
    engine = OpenAIEngine("tiny", url)
    request = Request(WORLD, n=12, max_tokens=8, seed=7)
    (first,), (again,) = ask(engine, request), ask(engine, request)
    agree(first, again)
    assert len({each.text for each in first}) > 1
