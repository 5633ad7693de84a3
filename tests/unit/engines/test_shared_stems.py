"""Which beginnings of prompts are read once for several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
from agentsearch.engines.causal_lm import Prompt, shared_stems  # noqa: E402

STATE = tuple(range(100, 300))


def test_two_questions_about_one_state_share_it():
    propose, judge = Prompt((1, 2, *STATE, 7), head=2), Prompt((1, 2, *STATE, 8, 9), head=2)
    stem = Prompt((1, 2, *STATE), head=2)
    assert shared_stems([propose, judge]) == [stem, stem]


def test_a_prompt_that_begins_another_keeps_its_last_token_to_read():
    short, long = Prompt(STATE), Prompt((*STATE, 7, 8))
    assert shared_stems([long, short]) == [Prompt(STATE[:-1])] * 2


def test_one_without_company_is_read_all_but_its_last_token():
    pair = [Prompt((*STATE, 7)), Prompt((*STATE, 8))]
    other = Prompt(tuple(range(300, 500)))
    stem = Prompt(STATE)
    assert shared_stems([pair[0], other, pair[1], *pair]) == [
        stem, Prompt(other.ids[:-1]), stem, stem, stem,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "prompts",
    [
        [Prompt(STATE)],
        [Prompt(STATE), Prompt(STATE[::-1])],
        [Prompt((*STATE, *range(500, 720))), Prompt((*STATE, *range(720, 940)))],
        [Prompt((*STATE, 1, 2), head=200), Prompt((*STATE, 1, 3), head=200)],
        [Prompt(STATE[:60]), Prompt((*STATE[:59], 7))],
        [Prompt((*STATE, 7), head=10), Prompt((*STATE, 8), head=20)],
    ],
    ids=[
        "one",
        "different",
        "mostly different",
        "in common is the head alone",
        "short",
        "unlike heads",
    ],
)
def test_where_nothing_is_saved_prompts_are_read_as_they_are(prompts):
    assert shared_stems(prompts) == prompts


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=9), st.integers(0, 4)),
        min_size=1,
        max_size=8,
        unique_by=lambda pair: tuple(pair[0]),
    )
)
def test_a_stem_begins_its_prompt_behind_the_head_and_leaves_a_token(pairs):
    long = [[id for id in ids for _ in range(30)] for ids, _ in pairs]
    heads = [min(30 * head, len(ids) - 1) for ids, (_, head) in zip(long, pairs, strict=True)]
    prompts = [Prompt(tuple(ids), head) for ids, head in zip(long, heads, strict=True)]
    stems = shared_stems(prompts)
    for prompt, stem in zip(prompts, stems, strict=True):
        assert stem.head == prompt.head <= len(stem.ids)
        assert prompt.ids[: len(stem.ids)] == stem.ids
        assert stems == prompts or len(stem.ids) < len(prompt.ids)
    if stems != prompts:
        whole = len(prompts) * max(len(p.ids) - p.head for p in prompts)
        rests = sum(len(p.ids) - len(s.ids) for p, s in zip(prompts, stems, strict=True))
        assert sum(len(s.ids) - s.head for s in set(stems)) + rests < 0.8 * whole
