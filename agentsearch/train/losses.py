"""The losses and what is measured beside them: pure functions of log-probabilities.

In the shapes, B is rows and T tokens. Log-probabilities are natural; those of a response are
summed over the tokens that the policy wrote, never over those of the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Literal["sigmoid", "ipo", "hinge"]


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the tokens where the mask is not 0.

    What is masked passes no gradient, and cannot make the sum infinite or NaN.

    Args:
        values: `[B, T]`.
        mask: `[B, T]`, 0 on every token that the policy did not write.

    Returns:
        `[B]`.
    """
    return values.masked_fill(mask == 0, 0.0).sum(-1)


@dataclass(frozen=True)
class Pairs:
    """Summed log-probabilities of pairs of responses; every field is `[B]`.

    Attributes:
        chosen, rejected: under the policy that is trained.
        ref_chosen, ref_rejected: under the reference, here as recorded by the sampler.
        chosen_tokens, rejected_tokens: how many tokens were summed.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor


def implicit_rewards(logps: Tensor, ref_logps: Tensor, beta: float) -> Tensor:
    """What a DPO policy thinks of tokens, steps or responses: any shape.

        r = beta (log pi - log pi_ref)

    Summed over a path, it is the path's return less the soft value of its start.

    Source: Rafailov et al., 2024, From r to Q*, eq. 8.
    """
    return beta * (logps - ref_logps)


def preference_loss(
    pairs: Pairs,
    *,
    beta: float,
    loss: Loss = "sigmoid",
    label_smoothing: float = 0.0,
    length_normalised: bool = False,
    margins: Tensor | None = None,
) -> Tensor:
    """How far each pair is from being told apart as it should be.

        D = (log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected) - margin / beta
        z = beta D
        sigmoid   -(1 - e) log s(z) - e log s(-z)          e the label smoothing
        hinge     max(0, 1 - z)
        ipo       (D - 1 / (2 beta))^2

    Sources: sigmoid: Rafailov et al., 2023, DPO, eq. 7; with smoothing Mitchell, 2023, cDPO,
    eq. 3; with margins Amini et al., 2024, DPO with an offset, eq. 8. hinge: Zhao et al.,
    2023, SLiC-HF. ipo: Azar et al., 2023, eq. 17. The margin shifts z alike in all three.

    Args:
        pairs: `[B]` each.
        beta: how strongly the policy is held to the reference.
        loss: which of the three.
        label_smoothing: share of the labels that are taken to be wrong; sigmoid only.
        length_normalised: divide each log-ratio by its response's tokens.
        margins: `[B]`, in units of z; None stands for 0.

    Returns:
        `[B]`.
    """
    chosen, rejected = pairs.chosen - pairs.ref_chosen, pairs.rejected - pairs.ref_rejected
    if length_normalised:
        chosen, rejected = chosen / pairs.chosen_tokens, rejected / pairs.rejected_tokens
    difference = chosen - rejected
    if margins is not None:
        difference = difference - margins / beta
    z = beta * difference
    if loss == "hinge":
        return F.relu(1 - z)
    if loss == "ipo":
        return (difference - 1 / (2 * beta)) ** 2
    return -(1 - label_smoothing) * F.logsigmoid(z) - label_smoothing * F.logsigmoid(-z)


def chosen_nll(pairs: Pairs) -> Tensor:
    """Negative log-likelihood of the chosen response per token, `[B]`.

    Added to a preference loss it keeps the chosen response likely.

    Source: Pang et al., 2024, Iterative reasoning preference optimization, eq. 1.
    """
    return -pairs.chosen / pairs.chosen_tokens


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Mean of weighted losses, a scalar.

    It is divided by the number of rows and not by their weights: weights have mean 1 over the
    data set, and so a batch of light rows moves the policy less than one of heavy rows.
    """
    return (losses * weights).mean()


def weighted_nll(logprobs: Tensor, mask: Tensor, weights: Tensor, tokens: Tensor | float) -> Tensor:
    """Weighted negative log-likelihood of what the policy wrote, a scalar.

        L = -sum_b w_b sum_t m_bt log pi_bt / tokens

    Source: Singh et al., 2023, ReST^EM, eq. 5, with the weight as the reward.

    Args:
        logprobs: `[B, T]`.
        mask: `[B, T]`, 0 on every token that the policy did not write.
        weights: `[B]`, mean 1 over the data set.
        tokens: trained tokens of the whole step, over all processes.
    """
    return -(masked_sum(logprobs, mask) * weights).sum() / tokens


def kl_k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimate of KL(pi || ref) from a sample of pi: unbiased, and often negative.

        log pi - log ref

    Source: Schulman, 2020, Approximating KL divergence. Any shape.
    """
    return logps - ref_logps


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Estimate of KL(pi || ref) from a sample of pi: unbiased, and never negative.

        e^d - d - 1    with d = log ref - log pi

    Source: Schulman, 2020, Approximating KL divergence. Any shape.
    """
    d = ref_logps - logps
    return torch.exp(d) - d - 1
