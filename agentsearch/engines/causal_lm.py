"""A transformers model that samples and scores token ids in batches.

Every different prompt is read once, and so is what prompts of a batch have in common; the
keys and values are then shared out to the samples, or serve the token trie of the choices.
The head of a prompt, its system message, is read alone and remembered, since all requests
about a task share it: alone, so that it has the same bits whether it was remembered or
not. Nothing here knows text.
"""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, DynamicLayer
from transformers.utils import logging

from agentsearch.engines.sampling import draw_tokens
from agentsearch.engines.trie import TokenTrie
from agentsearch.errors import ConfigError

Ids = tuple[int, ...]

SMALL_MODEL = 100_000_000
"""Parameters below which a model on the CPU takes one thread."""
ROOM = 32
"""Spare places at the end of a cache, so that new tokens are written and not appended."""
REMEMBERED_BYTES = 2**29
"""Most memory for the keys and values of prompt heads."""
WORTH_SHARING = 0.8
"""Share that the tokens read must come down to, or stems are not read apart."""
READING = 64
"""Tokens that could be read in the time that one more reading takes beside its tokens."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, of which the first `head` are likely to be seen again."""

    ids: Ids
    head: int = 0


@dataclass(frozen=True)
class SampleJob:
    """Draw one completion for every seed; `cut` may end one early by its ids."""

    prompt: Prompt
    seeds: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    cut: Callable[[list[int]], bool] | None = None


@dataclass(frozen=True)
class ScoreJob:
    """Score each of `choices`, closed with the token `end`."""

    prompt: Prompt
    choices: tuple[Ids, ...]
    end: int


@dataclass
class Sample:
    """A completion in the making; `closed` by a stop token, or `cut` by its job's test."""

    job: SampleJob
    rng: random.Random
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    closed: bool = False
    cut: bool = False

    @property
    def done(self) -> bool:
        """Whether it takes no further token."""
        return self.closed or self.cut or len(self.ids) >= self.job.max_tokens

    def take(self, token: int, logprob: float, stops: frozenset[int]) -> None:
        """Append a token, unless done."""
        if self.done:
            return
        self.ids.append(token)
        self.logprobs.append(logprob)
        self.closed = token in stops
        self.cut = self.job.cut is not None and self.job.cut(self.ids)


class RoomyLayer(DynamicLayer):
    """Keys and values `[R, heads, T, width]` of one layer, which grow in place."""

    keys: Tensor
    values: Tensor

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the new keys and values; the past is copied only when room runs out."""
        if not self.is_initialized:
            self.start(key_states, value_states)
            return key_states, value_states
        old = self.keys.shape[-2]
        new = old + key_states.shape[-2]
        if new > self._roomy[0].shape[-2]:
            self._roomy = _with_room(self.keys, new), _with_room(self.values, new)
        keys, values = self._roomy
        keys[:, :, old:new], values[:, :, old:new] = key_states, value_states
        self.keys, self.values = keys[:, :, :new], values[:, :, :new]
        return self.keys, self.values

    def start(self, keys: Tensor, values: Tensor) -> None:
        """Begin with these, whatever was there."""
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys, self.values = self._roomy = keys, values

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order, repeats allowed."""
        self.start(self.keys[rows], self.values[rows])


def _with_room(old: Tensor, length: int) -> Tensor:
    batch, heads, used, width = old.shape
    new = old.new_empty((batch, heads, length + ROOM, width))
    new[:, :, :used] = old
    return new


@dataclass
class Past:
    """What a batch of prompts left behind.

    In the shapes, R is rows, T the padded length and V the vocabulary.

    Attributes:
        seen: `[R, T]`, False on padding.
        lengths: `[R]`, real tokens of every row.
        logits: `[R, V]`, of the token that comes next.
    """

    layers: list[RoomyLayer]
    seen: Tensor
    lengths: Tensor
    logits: Tensor

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order, repeats allowed."""
        for layer in self.layers:
            layer.select(rows)
        self.seen, self.lengths, self.logits = (
            self.seen[rows],
            self.lengths[rows],
            self.logits[rows],
        )


class CausalLM:
    """The model in `folder`; `stops` are the ids that end a turn."""

    def __init__(self, folder: Path, dtype: str, device: str, stops: frozenset[int]) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        with _no_progress_bar():
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                attn_implementation="sdpa",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        self.model.eval().requires_grad_(False).to(self.device)
        _spare_threads(self.model, self.device)
        self.stops = stops | _stop_ids(self.model)
        self._heads: OrderedDict[Ids, list[tuple[Tensor, Tensor]]] = OrderedDict()
        self._heads_bytes = 0
        self.remembered_bytes = REMEMBERED_BYTES
        _check_attention(self.model.config)

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""
        return self.model.config.vocab_size

    @property
    def max_positions(self) -> int:
        """Most tokens of a sequence."""
        return self.model.config.max_position_embeddings

    @torch.inference_mode()
    def sample(self, jobs: Sequence[SampleJob]) -> list[list[Sample]]:
        """The samples of every job, in the order of its seeds."""
        samples = [[Sample(job, random.Random(seed)) for seed in job.seeds] for job in jobs]
        past = self._prefill([job.prompt for job in jobs], [len(job.seeds) for job in jobs])
        rows = [sample for group in samples for sample in group]
        while True:
            tokens = self._draw(rows, past.logits)
            live = [i for i, row in enumerate(rows) if not row.done]
            if not live:
                return samples
            if len(live) <= 0.75 * len(rows):
                index = self._tensor(live)
                past.select(index)
                tokens, rows = tokens[index], [rows[i] for i in live]
            self._decode(past, tokens)

    @torch.inference_mode()
    def score(self, jobs: Sequence[ScoreJob]) -> list[list[list[float]]]:
        """For every choice of every job the log-probability of each token, `end` last."""
        past = self._prefill([job.prompt for job in jobs], [1] * len(jobs))
        tries = [TokenTrie.of(job.choices) for job in jobs]
        after_nodes = self._walk_tries(past, tries)
        return [
            _path_scores(torch.cat([past.logits[row, None], after_nodes[row]]), job, trie)
            for row, (job, trie) in enumerate(zip(jobs, tries, strict=True))
        ]

    def _prefill(self, prompts: Sequence[Prompt], copies: Sequence[int]) -> Past:
        """Read every different prompt once, and a stem that several have only once.

        Row k stands `copies[k]` times in the result.
        """
        different = list(dict.fromkeys(prompts))
        stems = shared_stems(different)
        readings = list(dict.fromkeys(stems))
        past = self._recall([stem.ids[: stem.head] for stem in readings])
        self._read(past, [stem.ids[stem.head :] for stem in readings])
        if stems != different:
            past.select(self._tensor([readings.index(stem) for stem in stems]))
            rests = zip(different, stems, strict=True)
            self._read(past, [prompt.ids[len(stem.ids) :] for prompt, stem in rests])
        place = {prompt: i for i, prompt in enumerate(different)}
        rows = [place[p] for p, n in zip(prompts, copies, strict=True) for _ in range(n)]
        if rows != list(range(len(different))):
            past.select(self._tensor(rows))
        return past

    def _read(self, past: Past, texts: Sequence[Ids]) -> None:
        """Append to every row of `past` its text, padded on the left."""
        ids, real, depths = self._pad_left(texts)
        steps = torch.arange(ids.shape[1], device=self.device)
        itself = steps[:, None] == steps  # padding sees itself, or its softmax is empty
        new = (real[:, None, :] | itself) & (steps[:, None] >= steps)
        mask = torch.cat([past.seen[:, None, :].expand(-1, len(steps), -1), new], -1)
        positions = past.lengths[:, None] + depths
        past.logits = self._forward(ids, positions, mask, past.layers, logits_to_keep=1)[:, -1]
        past.seen = torch.cat([past.seen, real], -1)
        past.lengths = past.lengths + self._tensor([len(text) for text in texts])

    def _recall(self, heads: Sequence[Ids]) -> Past:
        """The head of every row as its past, whose logits are still empty."""
        layers = self._new_layers()
        longest = max(map(len, heads))
        different = [head for head in dict.fromkeys(heads) if head]
        known = [self._head(head) for head in different]
        if longest:
            where = {head: i for i, head in enumerate(different)}
            rows = self._tensor([where.get(head, 0) for head in heads])
            for layer, states in zip(layers, zip(*known, strict=True), strict=True):
                keys, values = zip(*states, strict=True)
                layer.start(_stack_right(keys, longest)[rows], _stack_right(values, longest)[rows])
        lengths = self._tensor([len(head) for head in heads])
        no_logits = torch.empty((len(heads), 0), device=self.device)
        return Past(layers, self._pad_left(heads)[1], lengths, no_logits)

    def _head(self, head: Ids) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[1, heads, T, width]` of every layer for one prompt head."""
        found = self._heads.pop(head, None)
        if found is None:
            layers = self._new_layers()
            ids = self._tensor([head])
            steps = torch.arange(len(head), device=self.device)
            mask = (steps[:, None] >= steps)[None]
            self._forward(ids, steps[None], mask, layers, logits_to_keep=1)
            found = [(layer.keys.contiguous(), layer.values.contiguous()) for layer in layers]
            self._heads_bytes += sum(k.nbytes + v.nbytes for k, v in found)
        self._heads[head] = found  # the latest used is the last forgotten
        while self._heads_bytes > self.remembered_bytes and len(self._heads) > 1:
            _, oldest = self._heads.popitem(last=False)
            self._heads_bytes -= sum(k.nbytes + v.nbytes for k, v in oldest)
        return found

    def _pad_left(self, sequences: Sequence[Ids]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, which of them are real, and how many real ones come before each."""
        longest = max(map(len, sequences))
        ids = self._tensor([(0,) * (longest - len(ids)) + ids for ids in sequences])
        pads = self._tensor([longest - len(ids) for ids in sequences])
        depths = torch.arange(longest, device=self.device) - pads[:, None]
        return ids, depths >= 0, depths.clamp(min=0)

    def _draw(self, rows: list[Sample], logits: Tensor) -> Tensor:
        """The next token of every row, noted in the rows."""
        jobs = [row.job for row in rows]
        tokens, logprobs = draw_tokens(
            logits,
            self._tensor([job.temperature for job in jobs], torch.float32),
            self._tensor([job.top_p for job in jobs], torch.float32),
            self._tensor([row.rng.random() for row in rows], torch.float64),
        )
        drawn = zip(rows, tokens.tolist(), logprobs.tolist(), strict=True)
        for row, token, logprob in drawn:
            row.take(token, logprob, self.stops)
        return tokens

    def _decode(self, past: Past, tokens: Tensor) -> None:
        """Append one token to every row."""
        positions = past.lengths[:, None]
        past.seen = torch.nn.functional.pad(past.seen, (0, 1), value=True)
        mask = past.seen[:, None, :]
        past.logits = self._forward(tokens[:, None], positions, mask, past.layers)[:, -1]
        past.lengths = past.lengths + 1

    def _walk_tries(self, past: Past, tries: Sequence[TokenTrie]) -> Tensor:
        """Logits `[R, N, V]` after each node of the row's trie."""
        width = max(len(trie.ids) for trie in tries)
        if width == 0:
            return past.logits[:, None][:, :0]
        pads = [width - len(trie.ids) for trie in tries]
        ids = self._tensor([t.ids + [0] * pad for t, pad in zip(tries, pads, strict=True)])
        depths = self._tensor([t.depths + [0] * pad for t, pad in zip(tries, pads, strict=True)])
        prompt = past.seen[:, None, :].expand(-1, width, -1)
        family = torch.eye(width, dtype=torch.bool).repeat(len(tries), 1, 1)
        kin = [
            (row, node, ancestor)
            for row, trie in enumerate(tries)
            for node in range(len(trie.ids))
            for ancestor in trie.ancestors(node)
        ]
        family[tuple(torch.tensor(kin).T)] = True
        mask = torch.cat([prompt, family.to(self.device)], -1)
        positions = past.lengths[:, None] + depths
        return self._forward(ids, positions, mask, past.layers)

    def _new_layers(self) -> list[RoomyLayer]:
        return [RoomyLayer() for _ in range(self.model.config.num_hidden_layers)]

    def _forward(
        self,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor,
        layers: list[RoomyLayer],
        logits_to_keep: int = 0,
    ) -> Tensor:
        """Logits `[R, K, V]` of the last K places; `mask` is `[R, new, old + new]`."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask[:, None],
            position_ids=positions,
            past_key_values=Cache(layers=[*layers]),
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )
        return output.logits

    def _tensor(self, values: Sequence[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)


def shared_stems(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The beginning of each prompt that is read before its rest, equal where it is shared.

    Prompts that have more than half of what follows their head in common share a stem;
    one without company has all but its last token. Where that saves too few of the tokens
    read, padding included, the stems are the prompts themselves, and nothing rests.
    """
    stems = list(prompts)
    for group in _kindred(prompts):
        first, last = prompts[group[0]], prompts[group[-1]]  # in order, so the most unlike
        length = min(_common(first.ids, last.ids), min(len(prompts[i].ids) for i in group) - 1)
        for i in group:
            stems[i] = Prompt(first.ids[:length], first.head)
    whole = len(prompts) * max(len(p.ids) - p.head for p in prompts)
    rest = max(len(p.ids) - len(s.ids) for p, s in zip(prompts, stems, strict=True))
    apart = len(set(stems)) * max(len(s.ids) - s.head for s in stems) + len(prompts) * rest
    return stems if apart + READING < WORTH_SHARING * whole else list(prompts)


def _kindred(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Indices of prompts that share a stem, each group in the order of their ids."""
    groups: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: (prompts[i].head, prompts[i].ids)):
        first, new = prompts[groups[-1][0]] if groups else prompts[i], prompts[i]
        common = _common(first.ids, new.ids) - new.head
        if groups and first.head == new.head and 2 * common > len(new.ids) - new.head:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _common(one: Ids, other: Ids) -> int:
    """How many ids two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _path_scores(logits: Tensor, job: ScoreJob, trie: TokenTrie) -> list[list[float]]:
    """Log-probabilities along every path, from logits `[1 + N, V]` of prompt and nodes.

    One row of a batch at a time, since that much fits the processor's cache.
    """
    logits = logits.float()
    log_z = torch.logsumexp(logits, -1)
    places = [[0, *(node + 1 for node in path)] for path in trie.paths]
    where = torch.tensor([place for path in places for place in path], device=logits.device)
    targets = [token for choice in job.choices for token in (*choice, job.end)]
    what = torch.tensor(targets, device=logits.device)
    flat = iter((logits[where, what] - log_z[where]).tolist())
    return [[next(flat) for _ in path] for path in places]


def _spare_threads(model: Any, device: torch.device) -> None:
    """A small model on the CPU takes one thread, unless OMP_NUM_THREADS says otherwise.

    Its matrices are too small to share out: on busy cores threads that wait for each other
    make it more than ten times slower.
    """
    small = model.num_parameters() < SMALL_MODEL
    if device.type == "cpu" and small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _stack_right(states: Sequence[Tensor], length: int) -> Tensor:
    """Several `[1, heads, T, width]` as one batch, aligned at the end of `length` places."""
    pads = [(0, 0, length - state.shape[-2], 0) for state in states]
    return torch.cat([torch.nn.functional.pad(s, p) for s, p in zip(states, pads, strict=True)])


@contextmanager
def _no_progress_bar() -> Generator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _stop_ids(model: Any) -> frozenset[int]:
    """The end-of-turn ids the checkpoint itself names."""
    ids = getattr(model.generation_config, "eos_token_id", None)
    if ids is None:
        return frozenset()
    return frozenset(ids if isinstance(ids, list) else [ids])


def _check_attention(config: Any) -> None:
    """Refuse models whose layers do not all see the whole past."""
    kinds: set[str] = set(getattr(config, "layer_types", None) or ())
    if not kinds and getattr(config, "sliding_window", None):
        kinds = {"sliding_attention"}
    if kinds - {"full_attention"}:
        raise ConfigError(
            f"The hf engine runs models with full attention; this one has {sorted(kinds)}. "
            "Serve it with vLLM and use the engine 'openai'."
        )
