"""Batched decoding and scoring for the evaluation: rows of one length, prompts computed once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, Qwen3ForCausalLM

from agentsearch.types import Message
from recipes.tiny.demonstrations import Encoder

Ids = tuple[int, ...]
Chat = Sequence[Message]
ROWS = 256
SCORED_ROWS = 16
IGNORED = -100
"""What stands for no target."""


class ChatModel:
    """A model folder that is asked chats and answers in text."""

    def __init__(self, folder: Path, seed: int) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.encoder = Encoder(self.tokenizer)
        self.sampler = Sampler(model, seed)

    def replies(
        self, chats: Sequence[Chat], counts: Sequence[int], *, greedy: bool, max_tokens: int
    ) -> list[list[str]]:
        """`counts[i]` replies to chat i."""
        prompts = list(map(self.encoder.prompt, chats))
        replies = self.sampler.replies(prompts, counts, greedy=greedy, max_tokens=max_tokens)
        return [[self.tokenizer.decode(ids) for ids in row] for row in replies]

    def answers(self, chats: Sequence[Chat], max_tokens: int) -> list[str]:
        """The likeliest reply to every chat."""
        replies = self.replies(chats, [1] * len(chats), greedy=True, max_tokens=max_tokens)
        return [text for [text] in replies]

    def next_logprobs(self, chats: Sequence[Chat]) -> Tensor:
        """`[chats, vocabulary]`, log-probabilities of the first token of a reply."""
        return self.sampler.next_logprobs(list(map(self.encoder.prompt, chats)))

    def choice_logprobs(self, chats: Sequence[Chat], choices: Sequence[str]) -> Tensor:
        """`[chats, choices]`, log-probabilities of whole replies."""
        rows = self.own_choice_logprobs(chats, [choices] * len(chats))
        return torch.stack(rows) if rows else torch.empty(0, len(choices))

    def own_choice_logprobs(
        self, chats: Sequence[Chat], choices: Sequence[Sequence[str]]
    ) -> list[Tensor]:
        """`[choices]` for every chat, log-probabilities of whole replies of its own list."""
        prompts = list(map(self.encoder.prompt, chats))
        texts = [list(map(self.encoder.text, each)) for each in choices]
        return self.sampler.choice_logprobs(prompts, texts)


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

    @torch.inference_mode()
    def choice_logprobs(
        self, prompts: Sequence[Ids], choices: Sequence[Sequence[Ids]]
    ) -> list[Tensor]:
        """`[choices]` for every prompt, log-probability of each of its choices and end of turn."""
        found: dict[int, Tensor] = {}
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for first in range(0, len(order), SCORED_ROWS):
            places = order[first : first + SCORED_ROWS]
            scored = self.score([prompts[i] for i in places], [choices[i] for i in places])
            found.update(zip(places, scored, strict=True))
        return [found[place] for place in range(len(prompts))]

    def score(self, prompts: Sequence[Ids], choices: Sequence[Sequence[Ids]]) -> tuple[Tensor, ...]:
        """`[choices]` for every prompt of one batch, padded on the right."""
        rows, widths = len(prompts), list(map(len, choices))
        lengths = torch.tensor(list(map(len, prompts)))
        out = self.model.model(padded(prompts), use_cache=True)
        first = self.model.lm_head(out.last_hidden_state[torch.arange(rows), lengths - 1])

        copies = torch.arange(rows).repeat_interleave(torch.tensor(widths))
        flat = [choice for each in choices for choice in each]
        texts = padded(flat)
        steps = torch.arange(texts.shape[1])
        seen = torch.arange(int(lengths.max())) < lengths[copies, None]
        after = self.model(
            texts,
            past_key_values=select(out.past_key_values, copies),
            attention_mask=torch.cat([seen, torch.ones_like(texts, dtype=torch.bool)], 1),
            position_ids=lengths[copies, None] + steps,
            use_cache=True,
        ).logits
        logits = torch.cat([first[copies, None], after], 1).float()
        targets = padded([(*choice, self.end) for choice in flat], IGNORED)
        losses = nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        )
        return (-losses.sum(1)).split(widths)

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


def padded(rows: Sequence[Ids], value: int = 0) -> Tensor:
    """`[rows, longest]`, filled up on the right."""
    return nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), True, value)
