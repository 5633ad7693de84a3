"""What the three real engines promise alike: hf, vllm in this process, openai before a vLLM server.

All run `tiny` in float32. The log-probabilities they must give are computed here, by
transformers alone. Run where vLLM is installed, else only the rows of hf are checked:
python -m pytest tests/integration/test_engine_contract.py
"""

import asyncio
import importlib.util
import multiprocessing
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest

from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.engines.openai import OpenAIEngine
from agentsearch.engines.vllm import VLLMEngine
from agentsearch.errors import EngineError, ServerLost
from agentsearch.serve import served
from agentsearch.types import Completion, Message, Request

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

MODEL = "tiny-v2"
CONTEXT = 512
CLOSE = 2e-3
"""Most that log-probabilities may differ by, in float32 with sums in another order."""
CLEAR = 1e-2
"""By how much the likeliest token must lead the next, to be the same everywhere."""
RULES = Message(
    "system", "You are in a grid world. Go to the red ball.\nReply with the next action."
)
WORLD = (
    RULES,
    Message("user", "You see a wall 2 steps left. You see a red ball 3 steps forward."),
)
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "go", "")
CHATS = (
    WORLD,
    (RULES, Message("user", "You see a red ball 1 step left.")),
    (*WORLD, Message("assistant", "go forward"), Message("user", "You see a red ball ahead.")),
    (Message("user", "Use 4 7 8 8 to make 24."),),
    (Message("user", 'Größe "ß" — 日本\n\n\tand  spaces '),),
)

Engine = HFEngine | VLLMEngine | OpenAIEngine

# vLLM leaves its zmq context to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")


class Asked:
    """An engine in the one event loop of this module, and the name of its kind."""

    def __init__(self, kind: str, engine: Engine, runner: asyncio.Runner) -> None:
        self.kind, self.engine, self.runner = kind, engine, runner

    def __call__(self, *requests: Request) -> list[list[Completion]]:
        async def all_at_once() -> list[list[Completion]]:
            return await asyncio.gather(*map(self.engine.generate, requests))

        return self.runner.run(all_at_once())

    def sample(self, messages: tuple[Message, ...] = WORLD, **options: Any) -> list[Completion]:
        return self(Request(messages, **options))[0]


@pytest.fixture(scope="module", params=["hf", "vllm", "openai"])
def ask(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    """One engine after the other; starting vLLM takes seconds, on busy cores minutes."""
    kind: str = request.param
    if kind != "hf" and importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm, which is not installed")
    with asyncio.Runner() as runner:
        if kind == "hf":
            yield from closed(Asked(kind, HFEngine(MODEL, max_context=CONTEXT), runner))
        elif kind == "vllm":
            engine = VLLMEngine(MODEL, "float32", max_num_seqs=64, max_context=CONTEXT)
            load_quietly(engine)
            yield from closed(Asked(kind, engine, runner))
        else:
            logs = tmp_path_factory.mktemp("logs")
            flags = ("--no-enable-lora",)
            with served(MODEL, max_model_len=CONTEXT, flags=flags, logs=logs) as address:
                yield from closed(Asked(kind, OpenAIEngine(MODEL, address), runner))


def closed(asked: Asked) -> Iterator[Asked]:
    try:
        yield asked
    finally:
        asked.runner.run(asked.engine.close())


def load_quietly(engine: VLLMEngine) -> None:
    with warnings.catch_warnings():  # its imports warn of their own affairs
        warnings.simplefilter("ignore")
        engine.load()


# what they are measured by


@cache
def reference() -> tuple[Any, Any]:
    folder = find_model(MODEL)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return transformers.AutoTokenizer.from_pretrained(folder), model.eval()


def prompt_of(messages: Sequence[Message]) -> tuple[int, ...]:
    chat = [{"role": each.role, "content": each.content} for each in messages]
    tokenizer, _ = reference()
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def distributions(prompt: Sequence[int], ids: Sequence[int]) -> Any:
    """Log-probabilities `[len(ids), V]` at every place of a completion."""
    with torch.inference_mode():
        logits = reference()[1](torch.tensor([[*prompt, *ids]])).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


def check_logprobs(completion: Completion) -> None:
    tokens = completion.tokens
    assert tokens is not None
    places = distributions(tokens.prompt, tokens.ids)
    expected = [float(places[i, token]) for i, token in enumerate(tokens.ids)]
    assert tokens.logprobs == pytest.approx(expected, abs=CLOSE)
    assert completion.logprob == pytest.approx(sum(expected), abs=CLOSE * len(expected))
    assert completion.generated_tokens == len(tokens.ids)
    assert completion.prompt_tokens == len(tokens.prompt)


# tokens and log-probabilities


def test_prompts_are_the_same_tokens(ask: Asked):
    for chat, (found,) in zip(CHATS, ask(*(Request(c, max_tokens=2) for c in CHATS)), strict=True):
        assert found.tokens is not None
        assert found.tokens.prompt == prompt_of(chat)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 0.8), (2.0, 1.0), (0.0, 1.0)])
def test_sampled_tokens_have_raw_log_probabilities(ask: Asked, temperature: float, top_p: float):
    options = {"temperature": temperature, "top_p": top_p, "max_tokens": 12}
    for found in ask(*(Request(chat, n=3, seed=3, **options) for chat in CHATS)):
        assert len(found) == 3
        for each in found:
            check_logprobs(each)
            assert each.tokens is not None and all(each.tokens.sampled)


@pytest.mark.parametrize("choices", [ACTIONS, ACTIONS[:1], ("größer als 日本", "turn"), ("", "")])
def test_scored_texts_have_the_log_probabilities_of_the_model(ask: Asked, choices: tuple[str, ...]):
    tokenizer, _ = reference()
    long = (Message("system", f"{'Mind the wall. ' * 60}{RULES.content}"), WORLD[1])
    for chat in (WORLD, long):
        found = ask.sample(chat, choices=choices)
        assert [each.text for each in found] == list(choices)
        for text, each in zip(choices, found, strict=True):
            check_logprobs(each)
            assert each.finish == "scored"
            assert each.tokens is not None and not any(each.tokens.sampled)
            spoken = tokenizer.encode(text, add_special_tokens=False)
            assert each.tokens.ids == (*spoken, tokenizer.eos_token_id)
            assert each.tokens.prompt == prompt_of(chat)


def test_both_ways_of_scoring_were_gone(ask: Asked):
    if ask.kind == "hf":
        pytest.skip("hf reads all texts in one pass")
    long = (Message("system", f"{'Beware the wall. ' * 60}{RULES.content}"), WORLD[1])
    before = +ask.engine.counts
    ask.sample(long, choices=ACTIONS)
    ask.sample(long, choices=("turn left now",))
    ways = ask.engine.counts - before
    assert (ways["scored_by_walk"], ways["scored_by_prefill"]) == (1, 1)


def test_greedy_tokens_are_the_likeliest_where_the_lead_is_clear(ask: Asked):
    clear = 0
    for (found,) in ask(*(Request(chat, temperature=0.0, max_tokens=24) for chat in CHATS)):
        assert found.tokens is not None
        places = distributions(found.tokens.prompt, found.tokens.ids)
        for token, place in zip(found.tokens.ids, places, strict=True):
            best, next_best = place.topk(2).values.tolist()
            if best - next_best > CLEAR:
                assert token == int(place.argmax())
                clear += 1
    assert clear > 10


def test_walks_beside_samples_change_neither(ask: Asked):
    samples = [Request(WORLD, n=2, max_tokens=8, seed=seed) for seed in range(4)]
    walks = [Request(chat, choices=ACTIONS[i:]) for i, chat in enumerate(CHATS[:4])]
    mixed = ask(*(each for pair in zip(samples, walks, strict=True) for each in pair))
    for each in (one for found in mixed for one in found):
        check_logprobs(each)


# samples


def test_a_seed_gives_the_same_samples_and_each_sample_has_its_own(ask: Asked):
    first, again, other = (ask.sample(n=12, max_tokens=8, seed=seed) for seed in (7, 7, 8))
    assert ids_of(first) == ids_of(again) != ids_of(other)
    assert len(set(ids_of(first))) > 1
    assert ids_of(ask.sample(n=2, max_tokens=8, seed=7)) == ids_of(first)[:2]


def ids_of(found: Sequence[Completion]) -> list[tuple[int, ...]]:
    assert all(each.tokens for each in found)
    return [each.tokens.ids for each in found if each.tokens]


def test_the_end_of_turn_belongs_to_the_completion(ask: Asked):
    tokenizer, _ = reference()
    for each in ask.sample(n=4, max_tokens=16, seed=1):
        assert each.finish == "stop"
        assert each.tokens is not None
        assert each.tokens.ids[-1] == tokenizer.eos_token_id
        assert each.text == tokenizer.decode(each.tokens.ids[:-1])


def test_what_is_cut_says_so(ask: Asked):
    (found,) = ask.sample(max_tokens=1, temperature=0.0)
    assert (found.finish, found.generated_tokens) == ("length", 1)
    assert found.tokens is not None and len(found.tokens.ids) == 1


def test_stop_strings_end_the_text_before_them(ask: Asked):
    (free,) = ask.sample(temperature=0.0, max_tokens=16)
    stop = free.text.split()[-1]
    (found,) = ask.sample(temperature=0.0, max_tokens=16, stop=(stop, "zebra"))
    assert found.finish == "stop"
    assert found.text == free.text[: free.text.index(stop)]
    assert found.tokens is None  # the ids do not say where the text was cut
    assert found.logprob is not None and found.logprob < 0


def test_what_must_be_among_given_texts_is(ask: Asked):
    if ask.kind == "hf":
        with pytest.raises(EngineError, match="cannot keep its samples"):
            ask.sample(among=("drop",))
        return
    among = ("pick up the zebra", "go forward")
    found = ask.sample(n=4, among=among, max_tokens=40, seed=1)
    assert {each.text for each in found} <= set(among)
    assert {(each.finish, each.tokens, each.logprob) for each in found} == {("stop", None, None)}
    (only,) = ask.sample(among=among[:1], max_tokens=40)
    assert only.text == among[0]


# costs and names


def test_samples_of_a_request_share_its_prompt(ask: Asked):
    found = ask.sample(n=3, max_tokens=4)
    assert [each.cached_tokens for each in found[1:]] == [found[0].prompt_tokens] * 2
    assert found[0].cached_tokens < found[0].prompt_tokens


def test_what_has_one_answer_is_asked_once_and_charged_as_before(ask: Asked):
    chat = (RULES, Message("user", f"Said once to {ask.kind}."))
    for request in (
        Request(chat, temperature=0.0, max_tokens=4, seed=1),
        Request(chat, choices=ACTIONS),
    ):
        (first,) = ask(request)
        before = +ask.engine.counts
        (again,) = ask(request)
        assert again == first
        saved = ask.engine.counts - before
        cost = sum(c.prompt_tokens - c.cached_tokens + c.generated_tokens for c in first)
        assert saved == {"saved_calls": 1, "saved_tokens": cost}
    sampled = +ask.engine.counts
    assert ask(Request(chat, max_tokens=4), Request(chat, max_tokens=4))
    assert (ask.engine.counts - sampled)["saved_calls"] == 0


def test_the_version_is_the_models_name_and_hash(ask: Asked):
    found = [*ask.sample(max_tokens=1), *ask.sample(choices=ACTIONS[:1])]
    assert {each.version for each in found} == {HFEngine(MODEL).version}
    assert re.fullmatch(rf"{MODEL}@[0-9a-f]{{12}}", found[0].version)


# what does not fit


def test_what_does_not_fit_is_refused_in_the_same_words(ask: Asked):
    prompt = len(prompt_of(WORLD))
    left = CONTEXT - prompt
    (fits,) = ask.sample(max_tokens=left, temperature=0.0)
    assert fits.prompt_tokens == prompt
    words = (
        f"The prompt has {prompt} tokens and {left + 1} more are wanted, but {MODEL} holds "
        f"{CONTEXT}; show fewer past turns or lower max_tokens."
    )
    with pytest.raises(EngineError) as caught:
        ask.sample(max_tokens=left + 1)
    assert str(caught.value) == words


def test_choices_may_fill_the_context_and_no_more(ask: Asked):
    tokenizer, _ = reference()
    (word,) = tokenizer.encode(" go", add_special_tokens=False)
    left = CONTEXT - len(prompt_of(WORLD))
    full = tokenizer.decode([word] * (left - 1))
    assert len(tokenizer.encode(full, add_special_tokens=False)) == left - 1
    (found,) = ask.sample(choices=(full,))
    check_logprobs(found)
    with pytest.raises(EngineError, match=f"{left + 1} more are wanted"):
        ask.sample(choices=(full + " go",))


def test_a_request_that_vllm_refuses_is_an_error_of_that_request(ask: Asked):
    if ask.kind == "hf":
        pytest.skip("hf takes any temperature")
    with pytest.raises(EngineError, match="temperature must be in"):
        ask.sample(temperature=3.0)
    assert ask.sample(max_tokens=1)


# event loops, and callers that leave


def test_any_event_loop_may_ask(ask: Asked):
    if ask.kind != "vllm":
        pytest.skip("the others connect or compute anew in each")
    request = Request(WORLD, n=2, max_tokens=8, seed=5)
    assert asyncio.run(ask.engine.generate(request)) == asyncio.run(ask.engine.generate(request))


def test_a_caller_that_leaves_disturbs_nobody(ask: Asked):
    async def main() -> list[Completion]:
        leaving = asyncio.create_task(ask.engine.generate(Request(CHATS[-1], n=64, max_tokens=200)))
        staying = asyncio.create_task(ask.engine.generate(Request(WORLD, max_tokens=8, seed=2)))
        await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    (stayed,) = ask.runner.run(main())
    check_logprobs(stayed)


@pytest.mark.slow
def test_a_dead_vllm_ends_the_run_and_another_can_be_started():
    pytest.importorskip("vllm")
    engine = VLLMEngine(MODEL, "float32", max_num_seqs=8, max_context=CONTEXT)
    request = Request(CHATS[-1], max_tokens=CONTEXT // 2)

    async def main() -> None:
        await engine.generate(Request(WORLD, max_tokens=1))
        asked = asyncio.create_task(engine.generate(request))
        await asyncio.sleep(0.05)
        for child in multiprocessing.active_children():
            child.kill()
        for doomed in (asked, engine.generate(request)):
            with pytest.raises(ServerLost, match="vLLM's process died"):
                await doomed
        await engine.close()
        assert await engine.generate(Request(WORLD, max_tokens=1))
        await engine.close()

    load_quietly(engine)
    asyncio.run(main())
