"""Every loss on numbers small enough to check by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from agentsearch.train.losses import (  # noqa: E402
    Pairs,
    chosen_nll,
    implicit_rewards,
    kl_k1,
    kl_k3,
    masked_sum,
    preference_loss,
    weighted_mean,
    weighted_nll,
)


def pairs(chosen=-2.0, ref_chosen=-2.5, rejected=-3.0, ref_rejected=-2.4, tokens=(1, 1)):
    """One pair; the numbers of the published example unless told otherwise."""
    numbers = (chosen, rejected, ref_chosen, ref_rejected, *tokens)
    return Pairs(*(torch.tensor([float(n)], dtype=torch.float64) for n in numbers))


def loss(given=None, beta=0.1, **options):
    return preference_loss(given or pairs(), beta=beta, **options).item()


def test_the_published_pair():
    z = 0.1 * ((-2.0 + 2.5) - (-3.0 + 2.4))
    assert z == pytest.approx(0.11)
    assert loss() == pytest.approx(0.63966, abs=5e-6)
    assert loss() == pytest.approx(-math.log(1 / (1 + math.exp(-z))))


def test_implicit_rewards_of_the_published_pair():
    pair = pairs()
    chosen = implicit_rewards(pair.chosen, pair.ref_chosen, 0.1).item()
    rejected = implicit_rewards(pair.rejected, pair.ref_rejected, 0.1).item()
    assert (chosen, rejected) == (pytest.approx(0.05), pytest.approx(-0.06))
    assert chosen - rejected == pytest.approx(0.11)


def test_ipo_is_the_square_of_what_is_missing_to_its_margin():
    assert loss(loss="ipo") == pytest.approx((1.1 - 1 / 0.2) ** 2)
    assert loss(pairs(2.5, 0, -2.5, 0), loss="ipo") == 0.0  # 5 = 1 / (2 * 0.1)


def test_hinge_ends_where_z_is_one():
    assert loss(loss="hinge") == pytest.approx(1 - 0.11)
    assert loss(pairs(8, 0, -8, 0), loss="hinge") == 0.0


def test_label_smoothing_mixes_in_the_pair_the_other_way_round():
    swapped = loss(pairs(-3.0, -2.4, -2.0, -2.5))
    assert swapped == pytest.approx(math.log(1 + math.exp(0.11)))
    assert loss(label_smoothing=0.2) == pytest.approx(0.8 * loss() + 0.2 * swapped)


def test_length_normalised_divides_each_side_by_its_own_tokens():
    z = 0.1 * (0.5 / 2 + 0.6 / 3)
    got = loss(pairs(tokens=(2, 3)), length_normalised=True)
    assert got == pytest.approx(math.log(1 + math.exp(-z)))
    assert loss(pairs(tokens=(2, 3))) == loss()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sigmoid", math.log(1 + math.exp(-(0.11 - 0.3)))),
        ("hinge", 1 - (0.11 - 0.3)),
        ("ipo", (1.1 - (0.5 + 0.3) / 0.1) ** 2),
    ],
)
def test_a_margin_shifts_z_in_every_loss(kind, expected):
    margins = torch.tensor([0.3], dtype=torch.float64)
    assert loss(loss=kind, margins=margins) == pytest.approx(expected)


def test_nll_is_per_token():
    assert chosen_nll(pairs(tokens=(4, 1))).item() == 0.5


def test_weights_do_not_cancel_out_within_a_batch():
    losses = torch.tensor([1.0, 3.0])
    assert weighted_mean(losses, torch.tensor([1.0, 1.0])) == 2
    assert weighted_mean(losses, torch.tensor([0.5, 0.5])) == 1
    assert weighted_mean(losses, torch.tensor([0.0, 2.0])) == 3


def test_weighted_nll_counts_tokens_of_the_whole_step():
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    nll = weighted_nll(logprobs, mask, torch.tensor([1.0, 0.5]), 6)
    assert nll == pytest.approx((3 + 0.5 * 4) / 6)


def test_masked_sum_ignores_what_is_masked_in_value_and_gradient():
    values = torch.tensor([[-1.0, -math.inf, -2.0], [math.nan, -3.0, -0.5]], requires_grad=True)
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]])
    total = masked_sum(values, mask)
    assert total.tolist() == [-3.0, -3.5]
    total.sum().backward()
    assert values.grad.tolist() == [[1, 0, 1], [0, 1, 1]]


def test_kl_estimators():
    pi, ref = torch.tensor(-1.0, dtype=torch.float64), torch.tensor(-1.2, dtype=torch.float64)
    assert kl_k1(pi, ref).item() == pytest.approx(0.2)
    assert kl_k3(pi, ref).item() == pytest.approx(0.01873, abs=5e-6)  # d = -0.2


def test_kl_estimators_are_unbiased():
    pi, ref = (torch.tensor(p, dtype=torch.float64).log() for p in ([0.7, 0.3], [0.4, 0.6]))
    exact = (pi.exp() * (pi - ref)).sum()
    assert (pi.exp() * kl_k1(pi, ref)).sum() == pytest.approx(exact)
    assert (pi.exp() * kl_k3(pi, ref)).sum() == pytest.approx(exact)


def test_implicit_rewards_telescope_on_a_two_step_tabular_mdp():
    """Along a path they sum to its return less the soft value of the start.

    Two actions at each step; rewards[a] are paid for the first, rewards2[a][b] for the second.
    """
    beta = 0.5
    ref = torch.tensor([0.3, 0.7], dtype=torch.float64)
    first = torch.tensor([0.2, -0.4], dtype=torch.float64)
    second = torch.tensor([[1.0, 0.0], [0.3, 0.8]], dtype=torch.float64)

    def soft(q):  # soft value and optimal policy at a state
        value = beta * torch.log((ref * (q / beta).exp()).sum())
        return value, ref * ((q - value) / beta).exp()

    below = [soft(second[a]) for a in range(2)]
    start, policy = soft(first + torch.stack([value for value, _ in below]))
    for a in range(2):
        for b in range(2):
            logps = torch.stack([policy[a], below[a][1][b]]).log()
            total = implicit_rewards(logps, torch.stack([ref[a], ref[b]]).log(), beta).sum()
            assert (total - (first[a] + second[a][b] - start)).abs() < 1e-6
