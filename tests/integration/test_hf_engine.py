"""The hf engine on a real random model, against plain full forward passes."""

import asyncio
import hashlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Completion, Message, Request
from tests.integration.tiny_random import save_tiny_random

torch = pytest.importorskip("torch")
stats = pytest.importorskip("scipy.stats")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_random(tmp_path_factory.mktemp("random") / "small")


@pytest.fixture(scope="module")
def engine(folder: Path) -> HFEngine:
    return HFEngine(str(folder), memory=0)  # every test asks the model itself


class Reference:
    """One sequence at a time through the whole model: no cache, no padding, no batch."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()

    def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        chat = [{"role": m.role, "content": m.content} for m in messages]
        text = self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    @torch.inference_mode()
    def next_logprobs(self, ids: list[int]) -> Any:
        return torch.log_softmax(self.model(torch.tensor([ids])).logits[0, -1].double(), -1)

    @torch.inference_mode()
    def logprobs(self, prompt: list[int], ids: list[int]) -> list[float]:
        logits = self.model(torch.tensor([prompt + ids])).logits[0].double()
        rows = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
        return [float(row[token]) for row, token in zip(rows, ids, strict=True)]


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def chat(*words: str, system: str | None = "go to the red ball") -> tuple[Message, ...]:
    roles = itertools.cycle(("user", "assistant"))
    turns = tuple(Message(role, word) for role, word in zip(roles, words, strict=False))
    return ((Message("system", system),) if system else ()) + turns


def ask(engine: HFEngine, *requests: Request) -> list[list[Completion]]:
    async def main() -> list[list[Completion]]:
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return asyncio.run(main())


CROWD = [
    Request(chat("left"), n=3, max_tokens=9, seed=1),
    Request(chat("left"), n=2, max_tokens=5, seed=2, temperature=0.5),
    Request(chat("3 4 5 6", "3 + 4", "7 5 6", system="do sums"), n=4, max_tokens=12, seed=3),
    Request(chat("up", system=None), n=1, max_tokens=7, seed=4, top_p=0.8),
    Request(chat("down " * 40, "left", "right"), n=2, max_tokens=6, seed=5),
    Request(chat("red", system="pick " * 30), n=1, max_tokens=6, temperature=0.0),
]


def test_logprobs_are_raw_and_equal_a_full_forward_pass(engine: HFEngine, reference: Reference):
    for request, completions in zip(CROWD, ask(engine, *CROWD), strict=True):
        prompt = reference.prompt(request.messages)
        assert len(completions) == request.n
        for completion in completions:
            assert completion.tokens is not None
            assert list(completion.tokens.prompt) == prompt
            expected = reference.logprobs(prompt, list(completion.tokens.ids))
            assert completion.tokens.logprobs == pytest.approx(expected, abs=1e-4)
            assert completion.logprob == pytest.approx(sum(expected), abs=1e-3)
            assert all(completion.tokens.sampled)


def test_a_sample_is_the_same_alone_and_in_a_crowd(engine: HFEngine):
    together = ask(engine, *CROWD)
    for request, in_crowd in zip(CROWD, together, strict=True):
        (alone,) = ask(engine, request)
        for a, b in zip(alone, in_crowd, strict=True):
            assert a.tokens is not None and b.tokens is not None
            assert (a.text, a.tokens.ids, a.finish) == (b.text, b.tokens.ids, b.finish)
            assert a.tokens.logprobs == pytest.approx(b.tokens.logprobs, abs=1e-4)


def test_more_samples_leave_the_first_ones_as_they_are(engine: HFEngine):
    few, many = ask(engine, CROWD[0], replace(CROWD[0], n=6))
    assert [c.text for c in many[:3]] == [c.text for c in few]
    assert len({c.text for c in many}) == 6


def test_another_seed_gives_other_samples(engine: HFEngine):
    one, again, other = ask(engine, CROWD[0], CROWD[0], replace(CROWD[0], seed=77))
    assert [c.text for c in one] == [c.text for c in again]
    assert {c.text for c in one}.isdisjoint({c.text for c in other})


def test_greedy_follows_the_likeliest_token(engine: HFEngine, reference: Reference):
    request = Request(chat("open door"), max_tokens=15, temperature=0.0)
    ((completion,),) = ask(engine, request)
    ids = reference.prompt(request.messages)
    written: list[int] = []
    while len(written) < 15 and reference.tokenizer.eos_token_id not in written:
        written.append(int(reference.next_logprobs(ids + written).argmax()))
    assert completion.tokens is not None
    assert list(completion.tokens.ids) == written


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_have_the_frequencies_of_the_softmax(
    engine: HFEngine, reference: Reference, temperature: float
):
    request = Request(chat("go"), n=6000, max_tokens=1, temperature=temperature, seed=8)
    (completions,) = ask(engine, request)
    counts = Counter(c.tokens.ids[0] for c in completions if c.tokens)
    logprobs = reference.next_logprobs(reference.prompt(request.messages))
    expected = 6000 * torch.softmax(logprobs / temperature, -1)
    common = [i for i in range(len(expected)) if expected[i] >= 8]
    observed = [counts[i] for i in common]
    wanted = [float(expected[i]) for i in common]
    rest = 6000 - sum(observed), 6000 - sum(wanted)
    assert len(common) > 20
    assert stats.chisquare([*observed, rest[0]], [*wanted, rest[1]]).pvalue > 1e-3


def test_top_p_keeps_only_the_nucleus(engine: HFEngine, reference: Reference):
    request = Request(chat("go"), n=3000, max_tokens=1, top_p=0.5, seed=8)
    (completions,) = ask(engine, request)
    drawn = {c.tokens.ids[0] for c in completions if c.tokens}
    ordered = (
        reference.next_logprobs(reference.prompt(request.messages)).exp().sort(descending=True)
    )
    size = int((ordered.values.cumsum(-1) < 0.5).sum()) + 1
    assert drawn <= set(ordered.indices[:size].tolist())
    assert len(drawn) > 0.8 * size


CHOICES = ("go left", "go right", "go", "open the door", "go left", "", "3 + 4 = 7", "unheard-of é")


def test_choices_equal_one_full_forward_pass_each(engine: HFEngine, reference: Reference):
    requests = [
        Request(chat("left"), choices=CHOICES),
        Request(chat("3 4 5", "3 + 4", "7 5", system="do sums"), choices=("7 + 5", "7 - 5")),
        Request(chat("up", system=None), choices=CHOICES[:3]),
        Request(chat("left"), choices=("",)),
        CROWD[0],  # sampling and scoring side by side
    ]
    for request, completions in zip(requests[:-1], ask(engine, *requests), strict=False):
        prompt = reference.prompt(request.messages)
        assert request.choices is not None
        assert [c.text for c in completions] == list(request.choices)
        for completion in completions:
            ids = [*reference.encode(completion.text), reference.tokenizer.eos_token_id]
            expected = reference.logprobs(prompt, ids)
            assert completion.tokens is not None
            assert list(completion.tokens.prompt) == prompt
            assert list(completion.tokens.ids) == ids
            assert not any(completion.tokens.sampled)
            assert completion.tokens.logprobs == pytest.approx(expected, abs=1e-4)
            assert completion.logprob == pytest.approx(sum(expected), abs=1e-4)
            assert (completion.finish, completion.generated_tokens) == ("scored", len(ids))


def test_only_choices_without_tokens(engine: HFEngine, reference: Reference):
    ((completion,),) = ask(engine, Request(chat("left"), choices=("",)))
    end = reference.tokenizer.eos_token_id
    expected = reference.next_logprobs(reference.prompt(chat("left")))[end]
    assert completion.logprob == pytest.approx(float(expected), abs=1e-4)


def test_an_end_of_turn_token_ends_the_text_and_belongs_to_the_tokens(
    engine: HFEngine, reference: Reference
):
    (completions,) = ask(engine, Request(chat("go"), n=64, max_tokens=100, seed=3))
    end = reference.tokenizer.eos_token_id
    assert {c.finish for c in completions} == {"stop", "length"}
    for completion in completions:
        assert completion.tokens is not None
        ids = list(completion.tokens.ids)
        assert completion.generated_tokens == len(ids) == len(completion.tokens.logprobs)
        assert ids.count(end) == (completion.finish == "stop")
        assert (ids[-1] == end) == (completion.finish == "stop")
        assert (len(ids) == 100) or completion.finish == "stop"
        spoken = [i for i in ids if i != end]
        assert completion.text == reference.tokenizer.decode(spoken, skip_special_tokens=True)
        assert "<|im_end|>" not in completion.text


def test_a_stop_string_cuts_the_text(engine: HFEngine):
    plain = Request(chat("go"), n=40, max_tokens=60, seed=3)
    (long,) = ask(engine, plain)
    (short,) = ask(engine, replace(plain, stop=("e", "zzz")))
    cut = [(a, b) for a, b in zip(long, short, strict=True) if "e" in a.text]
    assert len(cut) > 10
    for whole, part in cut:
        assert part.text == whole.text[: whole.text.index("e")]
        assert (part.finish, part.tokens) == ("stop", None)
        assert part.generated_tokens <= whole.generated_tokens
    assert any(part.generated_tokens < whole.generated_tokens for whole, part in cut)
    uncut = [(a, b) for a, b in zip(long, short, strict=True) if "e" not in a.text]
    assert all((a.text, a.finish) == (b.text, b.finish) for a, b in uncut)


def test_usage_counts_the_prompt_once_per_request(engine: HFEngine, reference: Reference):
    sampled, scored = ask(engine, CROWD[0], Request(chat("left"), choices=("go", "left")))
    length = len(reference.prompt(chat("left")))
    for completions in (sampled, scored):
        assert {c.prompt_tokens for c in completions} == {length}
        assert [c.cached_tokens for c in completions] == [0] + [length] * (len(completions) - 1)
    assert engine.count_prompt_tokens(CROWD[0]) == length


def test_a_reservation_is_exact_for_choices_and_an_upper_bound_for_samples(engine: HFEngine):
    scoring = Request(chat("left"), choices=CHOICES)
    sampled, scored = ask(engine, CROWD[0], scoring)
    prompt, call = engine.most_tokens(CROWD[0])
    assert (prompt, call) == (sampled[0].prompt_tokens, CROWD[0].max_tokens)
    assert max(c.generated_tokens for c in sampled) <= call
    prompt, call = engine.most_tokens(scoring)
    assert prompt == sum(c.prompt_tokens - c.cached_tokens for c in scored)
    assert call == sum(c.generated_tokens for c in scored)


def test_too_long_a_prompt_is_one_clear_sentence_and_harms_nobody_else(engine: HFEngine):
    async def main() -> list[Any]:
        requests = [replace(CROWD[0], max_tokens=250), CROWD[0]]
        return await asyncio.gather(
            *(engine.generate(request) for request in requests), return_exceptions=True
        )

    failed, fine = asyncio.run(main())
    assert isinstance(failed, EngineError)
    assert "tokens and 250 more are wanted" in str(failed) and "holds 256" in str(failed)
    assert len(fine) == 3
    with pytest.raises(EngineError, match="holds 40"):
        ask(HFEngine(engine.model, max_context=40), CROWD[0])
    with pytest.raises(EngineError, match="more are wanted"):
        ask(engine, Request(chat("left"), choices=("go", "left " * 300)))


def test_a_prompt_may_fill_the_context_to_the_last_token(engine: HFEngine, reference: Reference):
    room = 256 - len(reference.prompt(chat("left")))
    (whole,) = ask(engine, Request(chat("left"), n=2, max_tokens=room, seed=9))
    assert max(c.generated_tokens for c in whole) <= room
    with pytest.raises(EngineError, match="holds 256"):
        ask(engine, Request(chat("left"), max_tokens=room + 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": ()}, "no messages"),
        ({"n": 0}, "n=0"),
        ({"max_tokens": 0}, "max_tokens=0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"choices": ()}, "no choices"),
    ],
)
def test_a_senseless_request_is_refused(engine: HFEngine, change: dict[str, Any], words: str):
    with pytest.raises(EngineError, match=words):
        ask(engine, replace(CROWD[0], **change))


def test_one_at_a_time_is_equal_bit_for_bit(folder: Path):
    requests = [*CROWD, Request(chat("left"), choices=CHOICES)]
    first = HFEngine(str(folder), max_batch=1, memory=0)
    second = HFEngine(str(folder), max_batch=1, memory=0)
    forwards = ask(first, *requests)
    backwards = ask(second, *reversed(requests))[::-1]  # other heads are remembered
    again = ask(first, *requests)  # all heads are
    assert forwards == backwards == again


def test_a_stem_read_for_several_gives_the_same_as_each_alone(
    engine: HFEngine, reference: Reference
):
    past = ("go to the door " * 8, "left", "3 4 5 6 " * 6)
    shared = [chat(*past[:2], past[2] + word) for word in ("", "pick", "open door", "7 8 9")]
    alone = chat("up down " * 25, "go", "red", system=None)
    scoring = [Request(messages, choices=CHOICES) for messages in (*shared, alone)]
    sampling = [Request(messages, n=2, max_tokens=6, seed=4) for messages in (*shared, alone)]
    for group in ask(engine, *scoring, *sampling):
        for completion in group:
            assert completion.tokens is not None
            prompt, ids = list(completion.tokens.prompt), list(completion.tokens.ids)
            wanted = reference.logprobs(prompt, ids)
            assert list(completion.tokens.logprobs) == pytest.approx(wanted, abs=1e-4)


def test_forgotten_heads_are_read_again(folder: Path):
    def logprobs(remembered_bytes: int) -> list[float | None]:
        engine = HFEngine(str(folder), max_batch=1, memory=0)
        engine.load()
        engine._lm.remembered_bytes = remembered_bytes  # pyright: ignore[reportPrivateUsage]
        return [c.logprob for group in ask(engine, *CROWD, *CROWD) for c in group]

    assert logprobs(0) == logprobs(2**29)


REPEATED = [
    Request(chat(word), choices=("go left", "pick", "go"), seed=seed)
    for seed, word in enumerate(["left", "right 3", "left", "open the door", "right 3", "left"])
] + [Request(chat("left"), temperature=0.0, max_tokens=8, seed=seed) for seed in (1, 2)]


def one_by_one(engine: HFEngine) -> list[list[Completion]]:
    return [ask(engine, request)[0] for request in REPEATED]


def test_remembered_and_computed_replies_are_equal_bit_for_bit():
    remembering = HFEngine("tiny", max_batch=1)
    assert one_by_one(remembering) == one_by_one(HFEngine("tiny", max_batch=1, memory=0))
    assert remembering.counts["saved_calls"] == 4
    again = ask(remembering, *REPEATED)
    assert remembering.counts["saved_calls"] == 4 + len(REPEATED)
    assert again == one_by_one(remembering)


def test_in_a_batch_equal_requests_have_equal_replies():
    engine = HFEngine("tiny")
    together = ask(engine, *REPEATED)
    assert engine.counts["saved_calls"] == 4
    assert together[0] == together[2] == together[5] and together[6] == together[7]
    for batched, alone in zip(together, one_by_one(HFEngine("tiny", memory=0)), strict=True):
        assert [c.text for c in batched] == [c.text for c in alone]
        assert [c.logprob for c in batched] == pytest.approx([c.logprob for c in alone], abs=1e-4)


def test_samples_are_never_remembered(folder: Path):
    engine = HFEngine(str(folder))
    ask(engine, *CROWD, *CROWD)
    assert engine.counts["saved_calls"] == sum(r.n for r in CROWD if r.temperature == 0)


def test_the_memory_can_be_switched_off(folder: Path):
    engine = HFEngine(str(folder), memory=0)
    ask(engine, *REPEATED)
    assert not engine.counts


def test_it_serves_several_event_loops_and_comes_back_after_close(folder: Path):
    engine = HFEngine(str(folder))
    first = ask(engine, CROWD[0])
    assert ask(engine, CROWD[0]) == first
    asyncio.run(engine.close())
    assert ask(engine, CROWD[0]) == first


def test_the_version_is_a_hash_of_the_weights(engine: HFEngine, folder: Path, tmp_path: Path):
    weights = (folder / "model.safetensors").read_bytes()
    assert engine.version == f"small@{hashlib.sha256(weights).hexdigest()[:12]}"
    assert {c.version for c in ask(engine, CROWD[0])[0]} == {engine.version}
    other = save_tiny_random(tmp_path / "small", seed=1)
    assert HFEngine(str(other)).version != engine.version


def test_a_model_of_several_weight_files_has_one_version(folder: Path, tmp_path: Path):
    (tmp_path / "b.safetensors").write_bytes(b"b")
    (tmp_path / "a.safetensors").write_bytes(b"a")
    expected = hashlib.sha256(b"ab").hexdigest()[:12]
    assert HFEngine(str(tmp_path)).version == f"{tmp_path.name}@{expected}"


def test_what_cannot_be_loaded_says_so(folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="is no folder"):
        ask(HFEngine(str(tmp_path / "absent")), CROWD[0])
    with pytest.raises(ConfigError, match="holds no \\*.safetensors"):
        ask(HFEngine(str(tmp_path)), CROWD[0])
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        ask(HFEngine(str(tmp_path)), CROWD[0])
    with pytest.raises(ConfigError, match="neither a folder nor to be had from the hub"):
        ask(HFEngine("nobody/nothing"), CROWD[0])
    with pytest.raises(ConfigError, match="does not ship"):
        ask(HFEngine("tiny-v99"), CROWD[0])


def test_tiny_is_one_of_those_that_ship():
    shipped = find_model("tiny")
    assert shipped == find_model(shipped.name) and shipped.name.startswith("tiny-v")
    assert HFEngine("tiny").version == HFEngine(shipped.name).version
    assert HFEngine("tiny").version.startswith(f"{shipped.name}@")


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="has no chat template"):
        ask(HFEngine(str(tmp_path)), CROWD[0])


@pytest.mark.parametrize(
    "field", [{"dtype": "float8"}, {"device": "tpu"}, {"max_batch": 0}, {"memory": -1}], ids=str
)
def test_wrong_fields_are_refused_at_once(field: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(field))):
        HFEngine(**field)


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_missing_package_names_the_extra(missing: str, folder: Path):
    program = f"""
import sys, asyncio
sys.modules[{missing!r}] = None
from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.types import Message, Request
asyncio.run(HFEngine({str(folder)!r}).generate(Request((Message("user", "go"),))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ConfigError" in done.stderr
    assert "pip install 'agentsearch[hf]'" in done.stderr


def test_the_switch_keeps_it_out_of_unit_tests(engine: HFEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENTSEARCH_FORBID_REAL_ENGINES", "1")
    with pytest.raises(EngineError, match="may not be used"):
        ask(engine, CROWD[0])


def test_importing_and_making_an_engine_loads_no_heavy_library():
    program = """
import sys
from agentsearch.engines.hf import HFEngine, find_model
HFEngine("tiny")
assert not {"torch", "transformers", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)
