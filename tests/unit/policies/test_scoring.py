"""Scoring every legal action."""

import asyncio
import math
from collections import Counter

import pytest

from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, EngineError, PolicyError
from agentsearch.policies.scoring import Scoring, softmax
from agentsearch.types import Context

SHARES = {"left": 0.6, "right": 0.3, "straight on": 0.1}
ENGINE = ScriptedEngine(score=lambda request, choice: math.log(SHARES[choice]))
CONTEXT = Context("Find the key.", "crossing", legal_actions=("right", "left", "straight on"))


def proposed(n, mode, seed=0, context=CONTEXT, **fields):
    return asyncio.run(Scoring(ENGINE, **fields).propose(context, n, seed=seed, mode=mode))


def test_the_likeliest_come_first_with_their_share_of_all():
    made = proposed(2, "distinct")
    assert [p.action for p in made] == ["left", "right"]
    assert [p.prior for p in made] == pytest.approx([0.6, 0.3])
    assert made[0].logprob == math.log(0.6)


def test_greedy_is_the_likeliest_alone():
    assert [p.action for p in proposed(3, "greedy")] == ["left"]


def test_samples_are_drawn_from_the_distribution():
    drawn = Counter(p.action for p in proposed(2000, "sample"))
    for action, share in SHARES.items():
        assert drawn[action] / 2000 == pytest.approx(share, abs=0.04)


def test_a_temperature_flattens_or_sharpens():
    flat, sharp = (proposed(1, "distinct", temperature=t)[0].prior for t in (100.0, 0.1))
    assert flat == pytest.approx(1 / 3, abs=0.01) and sharp > 0.99


def test_long_texts_need_not_lose_by_their_length():
    # "straight on" has two tokens: ln(0.1) / 2 lies between ln(0.6) and ln(0.3)
    ranked = [p.action for p in proposed(3, "distinct", per_token=True)]
    assert ranked == ["left", "straight on", "right"]


@pytest.mark.parametrize("legal", [None, ()])
def test_without_a_finite_list_it_says_what_to_use(legal):
    with pytest.raises(PolicyError, match="use policy 'prompted'"):
        proposed(1, "sample", context=Context("p", "o", legal_actions=legal))


@pytest.mark.parametrize("logprob", [None, math.nan])
def test_a_choice_without_a_log_probability_is_an_error(logprob):
    engine = ScriptedEngine(score=lambda request, c: logprob if c == "left" else -1.0)
    with pytest.raises(EngineError, match="gave no log-probability for a choice; use"):
        asyncio.run(Scoring(engine).propose(CONTEXT, 1, seed=0))


def test_an_impossible_choice_has_no_share_but_not_all_may_be():
    engine = ScriptedEngine(score=lambda request, c: -math.inf if c == "left" else -1.0)
    made = asyncio.run(Scoring(engine).propose(CONTEXT, 3, seed=0, mode="distinct"))
    assert [(p.action, p.prior) for p in made][-1] == ("left", 0.0)
    nothing = ScriptedEngine(score=lambda request, c: -math.inf)
    with pytest.raises(EngineError, match="log-probability -inf"):
        asyncio.run(Scoring(nothing).propose(CONTEXT, 1, seed=0))


def test_temperature_0_is_refused():
    with pytest.raises(ConfigError, match="^policy.temperature=0: must be more than 0"):
        Scoring(ENGINE, temperature=0)


def test_softmax_by_hand():
    assert softmax([0.0, math.log(3.0)]) == pytest.approx([0.25, 0.75])
    assert softmax([-1e9, 1000.0]) == [0.0, 1.0]
