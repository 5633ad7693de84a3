"""Batched decoding for the evaluation: rows of one length, their prompts computed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, Qwen3ForCausalLM

Ids = tuple[int, ...]
ROWS = 256


class Sampler:
    """Decodes with one model: likeliest tokens at temperature 0, else draws at 1.

    Attributes:
        generator: the source of all draws.
    """

    def __init__(self, model: Qwen3ForCausalLM, seed: int = 0) -> None:
        self.model = model.eval()
        self.end = model.config.eos_token_id
        self.generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def replies(
        self, prompts: Sequence[Ids], counts: Sequence[int], *, greedy: bool, max_tokens: int
    ) -> list[list[Ids]]:
        """`counts[i]` completions of prompt i, without their end-of-turn token."""
        found: list[list[Ids]] = [[] for _ in prompts]
        for places in by_length(prompts):
            past, logits = self.prefill([prompts[i] for i in places])
            rows = [row for row, i in enumerate(places) for _ in range(counts[i])]
            for part in (rows[i : i + ROWS] for i in range(0, len(rows), ROWS)):
                chosen = torch.tensor(part)
                copy = select(past, chosen)
                texts = self.decode(copy, logits[chosen], greedy=greedy, max_tokens=max_tokens)
                for row, text in zip(part, texts, strict=True):
                    found[places[row]].append(text)
        return found

    @torch.inference_mode()
    def next_logprobs(self, prompts: Sequence[Ids]) -> Tensor:
        """`[prompts, vocabulary]`, log-probabilities of the first token of a reply."""
        found = torch.empty(len(prompts), self.model.config.vocab_size)
        for places in by_length(prompts):
            found[places] = self.prefill([prompts[i] for i in places])[1].log_softmax(-1)
        return found

    def prefill(self, prompts: Sequence[Ids]) -> tuple[DynamicCache, Tensor]:
        """Keys and values of prompts of one length, and the logits after them."""
        out = self.model(torch.tensor(prompts), use_cache=True, logits_to_keep=1)
        return out.past_key_values, out.logits[:, -1].float()

    def decode(
        self, past: DynamicCache, logits: Tensor, *, greedy: bool, max_tokens: int
    ) -> list[Ids]:
        """One completion of every row."""
        columns: list[Tensor] = []
        done = torch.zeros(len(logits), dtype=torch.bool)
        while len(columns) < max_tokens:
            if greedy:
                ids = logits.argmax(-1)
            else:
                ids = torch.multinomial(logits.softmax(-1), 1, generator=self.generator)[:, 0]
            columns.append(ids.masked_fill(done, self.end))
            done |= ids == self.end
            if done.all():
                break
            out = self.model(columns[-1][:, None], past_key_values=past, use_cache=True)
            logits = out.logits[:, -1].float()
        return [self.cut(row) for row in torch.stack(columns, 1).tolist()]

    def cut(self, row: list[int]) -> Ids:
        """The row up to its end-of-turn token."""
        return tuple(row[: row.index(self.end)] if self.end in row else row)


def by_length(prompts: Sequence[Ids]) -> Iterator[list[int]]:
    """Places of prompts of equal length, at most `ROWS` at once."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        groups[len(prompt)].append(place)
    for places in groups.values():
        yield from (places[i : i + ROWS] for i in range(0, len(places), ROWS))


def select(past: DynamicCache, rows: Tensor) -> DynamicCache:
    """A copy of the cache with these rows, repeats allowed."""
    return DynamicCache([(layer.keys[rows], layer.values[rows]) for layer in past.layers])
