"""Drawing next tokens from logits: temperature, top-p, one random number a row."""

from __future__ import annotations

import torch
from torch import Tensor

from agentsearch.errors import EngineError

BLOCK = 64
ALMOST_ONE = 1.0 - 2.0**-53


def draw_tokens(
    logits: Tensor, temperature: Tensor, top_p: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sampling, every row by its own random number and settings.

    A row's token depends on nothing but that row, so a sample is the same alone and in
    a crowd. In the shapes, R is rows and V the vocabulary.

    Args:
        logits: `[R, V]`.
        temperature: `[R]`; 0 takes the likeliest token.
        top_p: `[R]`, in (0, 1]; the smallest set of likeliest tokens that reaches it is kept.
        uniform: `[R]`, float64 in [0, 1).

    Returns:
        Token ids `[R]` and their raw log-probabilities `[R]`: at temperature 1 and
        without top-p, whatever the sampling was.

    Raises:
        EngineError: if a row has no finite normaliser.
    """
    logits = logits.float()
    peak = logits.amax(-1, keepdim=True)
    shifted = logits - peak
    tokens, total = _invert(shifted.exp(), uniform)
    if not bool(torch.isfinite(total).all()):
        raise EngineError(
            "The model's logits are not finite; use dtype float32 or bfloat16, "
            "and check the checkpoint."
        )
    shaped = ((temperature > 0) & ((temperature != 1) | (top_p < 1))).nonzero()[:, 0]
    if len(shaped):
        weights = torch.exp(shifted[shaped] / temperature[shaped, None])
        weights = _keep_nucleus(weights, top_p[shaped])
        tokens[shaped] = _invert(weights, uniform[shaped])[0]
    greedy = (temperature == 0).nonzero()[:, 0]
    if len(greedy):
        tokens[greedy] = logits[greedy].argmax(-1)
    return tokens, shifted.gather(-1, tokens[:, None])[:, 0] - total.log()


def _invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """The first token whose cumulative weight exceeds the drawn share of the total.

    Cumulates over blocks of tokens and then within the block that was hit: the whole
    vocabulary in float64 would cost more than the model's own last layer.

    Returns:
        Tokens `[R]` and total weights `[R]`, float64.
    """
    blocks = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % BLOCK))
    blocks = blocks.unflatten(-1, (-1, BLOCK))
    sums = blocks.sum(-1).double()
    block, share, total = _locate(sums, uniform)
    inside = blocks[torch.arange(len(blocks), device=blocks.device), block].double()
    return block * BLOCK + _locate(inside, share)[0], total


def _locate(weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a share of the total weight falls, and which share of that entry is left."""
    cdf = weights.cumsum(-1)
    total = cdf[:, -1]
    target = (share * total)[:, None]
    place = torch.searchsorted(cdf, target, right=True).clamp(max=weights.shape[-1] - 1)
    hit = weights.gather(-1, place)
    left = (target - cdf.gather(-1, place) + hit) / hit
    return place[:, 0], left[:, 0].clamp(0.0, ALMOST_ONE), total


def _keep_nucleus(weights: Tensor, top_p: Tensor) -> Tensor:
    """Zero for all tokens that the likelier ones make superfluous (Holtzman et al., 2020)."""
    if bool((top_p >= 1).all()):
        return weights
    ordered, index = weights.sort(dim=-1, descending=True, stable=True)
    total = ordered.cumsum(-1, dtype=torch.float64)
    superfluous = total - ordered >= top_p[:, None] * total[:, -1:]
    dropped = torch.zeros_like(superfluous).scatter(-1, index, superfluous)
    return weights.masked_fill(dropped, 0.0)
