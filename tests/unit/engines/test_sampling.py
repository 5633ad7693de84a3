"""Drawing tokens from logits, on numbers small enough to check by hand."""

import math

import pytest

from agentsearch.errors import EngineError

torch = pytest.importorskip("torch")

LOGITS = [math.log(p) for p in (0.5, 0.1, 0.4)]


def draw(uniform: list[float], *, temperature: float = 1.0, top_p: float = 1.0, logits=LOGITS):
    from agentsearch.engines.sampling import draw_tokens

    rows = len(uniform)
    tokens, logprobs = draw_tokens(
        torch.tensor([logits] * rows),
        torch.full((rows,), temperature),
        torch.full((rows,), top_p),
        torch.tensor(uniform, dtype=torch.float64),
    )
    return tokens.tolist(), logprobs.tolist()


def test_a_token_is_where_the_random_number_falls():
    tokens, logprobs = draw([0.0, 0.49, 0.51, 0.59, 0.61, 0.999])
    assert tokens == [0, 0, 1, 1, 2, 2]
    assert logprobs == pytest.approx([LOGITS[token] for token in tokens], abs=1e-6)


def test_temperature_sharpens_the_draw_but_not_the_logprob():
    # squares at temperature 1/2: 25, 1, 16 of 42
    tokens, logprobs = draw([0.59, 0.60, 0.61, 0.63], temperature=0.5)
    assert tokens == [0, 1, 1, 2]
    assert logprobs[0] == pytest.approx(math.log(0.5), abs=1e-6)


def test_temperature_zero_takes_the_likeliest():
    assert draw([0.1, 0.55, 0.99], temperature=0.0)[0] == [0, 0, 0]


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    # 0.5 alone does not reach 0.6; 0.5 and 0.4 do, and share 5 to 4
    assert draw([0.0, 0.55, 0.56, 0.999], top_p=0.6)[0] == [0, 0, 2, 2]
    assert draw([0.0, 0.999], top_p=0.5)[0] == [0, 0]
    assert draw([0.999], top_p=0.91)[0] == [2]
    assert draw([0.55], top_p=0.91)[0] == [1]


def test_rows_keep_their_own_settings():
    from agentsearch.engines.sampling import draw_tokens

    tokens, _ = draw_tokens(
        torch.tensor([LOGITS] * 4),
        torch.tensor([1.0, 0.0, 0.5, 1.0]),
        torch.tensor([1.0, 1.0, 1.0, 0.5]),
        torch.tensor([0.55, 0.55, 0.60, 0.999], dtype=torch.float64),
    )
    assert tokens.tolist() == [1, 0, 1, 0]


def test_many_tokens_agree_with_a_plain_cumulative_sum():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, generator=generator)
    cdf = torch.softmax(logits.double(), -1).cumsum(-1)
    uniform = torch.rand(2000, generator=generator, dtype=torch.float64)
    clear = (cdf[None] - uniform[:, None]).abs().amin(-1) > 1e-6  # not on an edge
    expected = torch.searchsorted(cdf, uniform, right=True)
    tokens = torch.tensor(draw(uniform.tolist(), logits=logits.tolist())[0])
    assert clear.sum() > 1900
    assert torch.equal(tokens[clear], expected[clear])


def test_an_impossible_token_is_never_drawn():
    logits = [-math.inf, 0.0, -math.inf] * 50
    tokens = draw([i / 997 for i in range(997)] + [0.0, 1 - 2**-53], logits=logits)[0]
    assert {token % 3 for token in tokens} == {1}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(bad: float):
    with pytest.raises(EngineError, match="not finite"):
        draw([0.5], logits=[0.0, bad, 1.0])
