"""A transformers model in this process: batches, samples and scores on CPU or one GPU.

The library's own `generate` is not used: every sample draws from a generator of its own,
so that it is the same alone and in a crowd, and scoring reads all choices in one pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agentsearch.engines.batcher import Batcher
from agentsearch.engines.chat import ChatTokenizer, before_stop, config_errors, import_extra
from agentsearch.engines.guard import check_real_engines_allowed, check_request, check_unforced
from agentsearch.engines.memory import Memory, has_one_answer
from agentsearch.errors import ConfigError, EngineError
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Message, Request, Tokens

if TYPE_CHECKING:
    from agentsearch.engines.causal_lm import CausalLM, Prompt, Sample, SampleJob, ScoreJob

J = TypeVar("J", "SampleJob", "ScoreJob")

DTYPES = ("float32", "bfloat16", "float16")
TINY = "tiny-v2"
"""What `tiny` names. tiny-v3 shops as well, but plays Game of 24 worse (see its card)."""
MAX_ROWS = 512
"""Most sequences decoded side by side."""
MAX_PADDED_TOKENS = 16_384
"""Most prompt tokens, padding included, that one pass reads."""
MAX_LOGITS = 2**26
"""Most logits that one pass over token tries keeps."""

_loading = threading.Lock()


@dataclass(frozen=True)
class HFEngine:
    """Any causal language model of transformers with full attention and a chat template.

    Nothing is loaded until the first request. Weights are read from safetensors only and
    no code from a model's folder is ever run.

    Attributes:
        model: `tiny` (of those that ship with agentsearch the best all round) or `tiny-v1`,
            a folder, or
            the name of a model on the Hugging Face hub.
        dtype: float32, bfloat16 or float16.
        device: `auto` takes a GPU where there is one.
        max_batch: most requests taken together; 1 makes runs equal bit for bit.
        max_context: most tokens of prompt and completion; None takes the model's own.
        memory: most replies kept of scored choices and of temperature 0, so that an equal
            request is not computed again; about 15 kB each at 300 tokens. 0 keeps none.
    """

    model: str = "tiny"
    dtype: str = "float32"
    device: str = "auto"
    max_batch: int = 64
    max_context: int | None = None
    memory: int = 4096

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype: {self.dtype!r} is none of {', '.join(DTYPES)}.")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(f"device: {self.device!r} is none of auto, cpu, cuda, cuda:N.")
        if self.max_batch < 1:
            raise ConfigError(f"max_batch: {self.max_batch} requests make no batch; use 1 or more.")
        if self.memory < 0:
            raise ConfigError(f"memory: {self.memory} replies cannot be kept; use 0 or more.")

    async def generate(self, request: Request) -> list[Completion]:
        """Sample `n` completions, or score `choices`, batched with whatever else waits."""
        check_real_engines_allowed("hf")
        check_request(request)
        check_unforced(request, "hf")
        if self.memory and has_one_answer(request):
            return await self._memory.reply(request)
        return await self._answer(request)

    @property
    def counts(self) -> Counter[str]:
        """Calls and tokens that were charged, but remembered instead of computed."""
        return self._memory.counts

    async def close(self) -> None:
        """End the running batch and let go of the weights."""
        await self._batcher.close()
        self._memory.clear()
        self.__dict__.pop("_lm", None)

    def load(self) -> None:
        """Load tokenizer and weights now rather than with the first request.

        Raises:
            ConfigError: torch or transformers is not installed, or there is no such model.
        """
        with _loading:
            _ = self._lm

    def count_prompt_tokens(self, request: Request) -> int:
        """Tokens of the rendered prompt; remembered, so that it is not tokenised twice."""
        return len(self._chat.prompt(request.messages))

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Tokens of the prompt, and most further ones of each call; scoring is one call."""
        return self._chat.most_tokens(request)

    @cached_property
    def version(self) -> str:
        """Name of the model and 12 hex digits of the SHA-256 over its weight files."""
        digest = hashlib.sha256()
        for path in sorted(self._folder.glob("*.safetensors")):
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        name = self._folder.name if self.model == "tiny" else Path(self.model).name
        return f"{name}@{digest.hexdigest()[:12]}"

    async def _answer(self, request: Request) -> list[Completion]:
        if "_lm" not in self.__dict__:
            await asyncio.to_thread(self.load)
        prompt = self._prompt(request.messages)
        if request.choices is not None:
            return await self._score(request, request.choices, prompt)
        return await self._sample(request, prompt)

    async def _sample(self, request: Request, prompt: Prompt) -> list[Completion]:
        self._check_room(prompt, request.max_tokens)
        from agentsearch.engines.causal_lm import SampleJob

        job = SampleJob(
            prompt=prompt,
            seeds=tuple(derive_seed(request.seed, i) for i in range(request.n)),
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            cut=self._stop_test(request.stop) if request.stop else None,
        )
        samples = await self._batcher.submit(job)
        return [self._sampled(request, prompt, i, sample) for i, sample in enumerate(samples)]

    async def _score(
        self, request: Request, choices: Sequence[str], prompt: Prompt
    ) -> list[Completion]:
        from agentsearch.engines.causal_lm import ScoreJob

        ids = tuple(self._chat.encode(choice) for choice in choices)
        self._check_room(prompt, 1 + max(map(len, ids)))
        end = self._chat.end
        scores = await self._batcher.submit(ScoreJob(prompt=prompt, choices=ids, end=end))
        closed = [(*each, end) for each in ids]
        rows = enumerate(zip(choices, closed, scores, strict=True))
        return [self._scored(prompt, i, *row) for i, row in rows]

    def _sampled(self, request: Request, prompt: Prompt, i: int, sample: Sample) -> Completion:
        ids = sample.ids
        spoken = ids[:-1] if sample.closed else ids
        sampled = (True,) * len(ids)
        tokens = Tokens(prompt.ids, tuple(ids), tuple(sample.logprobs), sampled)
        return Completion(
            text=before_stop(self._chat.decode(spoken), request.stop),
            finish="stop" if sample.closed or sample.cut else "length",
            tokens=None if request.stop else tokens,  # a text stop is not in the ids
            logprob=tokens.logprob,
            prompt_tokens=len(prompt.ids),
            cached_tokens=len(prompt.ids) if i else 0,
            generated_tokens=len(ids),
            version=self.version,
        )

    def _scored(
        self, prompt: Prompt, i: int, choice: str, ids: tuple[int, ...], logprobs: list[float]
    ) -> Completion:
        tokens = Tokens(prompt.ids, ids, tuple(logprobs), (False,) * len(ids))
        return Completion(
            text=choice,
            finish="scored",
            tokens=tokens,
            logprob=tokens.logprob,
            prompt_tokens=len(prompt.ids),
            cached_tokens=len(prompt.ids) if i else 0,
            generated_tokens=len(ids),
            version=self.version,
        )

    def _check_room(self, prompt: Prompt, wanted: int) -> None:
        limit = self.max_context or self._lm.max_positions
        if len(prompt.ids) + wanted > limit:
            raise EngineError(
                f"The prompt has {len(prompt.ids)} tokens and {wanted} more are wanted, "
                f"but {self.model} holds {limit}; show fewer past turns or lower max_tokens."
            )

    def _run(self, jobs: list[SampleJob | ScoreJob]) -> list[Any]:
        """One batch, in the worker thread: samples or scores for every job."""
        from agentsearch.engines.causal_lm import SampleJob, ScoreJob

        lm, results = self._lm, dict[int, Any]()
        sampling = [(i, job) for i, job in enumerate(jobs) if isinstance(job, SampleJob)]
        scoring = [(i, job) for i, job in enumerate(jobs) if isinstance(job, ScoreJob)]
        for group in _groups(sampling, lambda job: MAX_ROWS // len(job.seeds)):
            samples = lm.sample([job for _, job in group])
            results.update(zip([i for i, _ in group], samples, strict=True))
        for group in _groups(scoring, lambda job: self._fitting(job)):
            scores = lm.score([job for _, job in group])
            results.update(zip([i for i, _ in group], scores, strict=True))
        return [results[i] for i in range(len(jobs))]

    def _fitting(self, job: ScoreJob) -> int:
        """How many jobs like this one fit in one pass."""
        return MAX_LOGITS // (self._lm.vocabulary * (1 + sum(map(len, job.choices))))

    def _stop_test(self, stop: Sequence[str]) -> Callable[[list[int]], bool]:
        return lambda ids: any(each in self._chat.decode(ids) for each in stop)

    @cached_property
    def _batcher(self) -> Batcher[SampleJob | ScoreJob, Any]:
        return Batcher(self._run, self.max_batch)

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self._answer, self.memory)

    def _prompt(self, messages: tuple[Message, ...]) -> Prompt:
        """The ids of a chat, of which a system message is the head."""
        from agentsearch.engines.causal_lm import Prompt

        ids, end = self._chat.prompt(messages), self._chat.end
        if messages[0].role != "system" or end not in ids[:-1]:
            return Prompt(ids)
        return Prompt(ids, head=ids.index(end) + 1)

    @cached_property
    def _folder(self) -> Path:
        return find_model(self.model)

    @cached_property
    def _chat(self) -> ChatTokenizer:
        return ChatTokenizer(self.model, self._folder)

    @cached_property
    def _lm(self) -> CausalLM:
        import_extra("torch", "hf")
        import_extra("transformers", "hf")
        from agentsearch.engines.causal_lm import CausalLM

        stops = frozenset([self._chat.end])
        with config_errors(f"The weights of {self.model} cannot be loaded"):
            return CausalLM(self._folder, self.dtype, self.device, stops)


def find_model(name: str) -> Path:
    """The folder of a model: one of ours, a path, or one of the Hugging Face hub.

    Raises:
        ConfigError: there is no such model, or it has no safetensors.
    """
    if re.fullmatch(r"tiny(-v\d+)?", name):
        folder = _shipped(name)
    elif (path := Path(name).expanduser()).is_dir():
        folder = path.resolve()
    elif re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        folder = _from_hub(name)
    else:
        raise ConfigError(
            f"model: {name!r} is no folder; write tiny, the folder of a model, "
            "or ORGANISATION/NAME for one of the Hugging Face hub."
        )
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            f"model: {folder} holds no *.safetensors; save the model with save_pretrained."
        )
    return folder


def _shipped(name: str) -> Path:
    """A model of the package."""
    home = Path(str(resources.files("agentsearch"))) / "_models"
    found = {path.name: path for path in home.glob("tiny-v*")}
    name = TINY if name == "tiny" else name
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise ConfigError(f"model: {name!r} does not ship with agentsearch. Shipped: {known}.")
    return found[name]


def _from_hub(name: str) -> Path:
    """The newest snapshot of a hub model, downloaded unless it is there already."""
    hub = import_extra("huggingface_hub", "hf")
    wanted = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
    with config_errors(f"model: {name!r} is neither a folder nor to be had from the hub"):
        return Path(hub.snapshot_download(name, allow_patterns=wanted))


def _groups(
    jobs: list[tuple[int, J]], fitting: Callable[[J], int]
) -> Iterator[list[tuple[int, J]]]:
    """Jobs of similar length together, as many as fit in one pass."""

    def length(job: J) -> int:
        return len(job.prompt.ids) - job.prompt.head

    group: list[tuple[int, J]] = []
    for i, job in sorted(jobs, key=lambda item: length(item[1])):
        shortest = length(group[0][1]) if group else length(job)
        full = len(group) >= min(fitting(job), MAX_PADDED_TOKENS // max(1, length(job)))
        if group and (full or length(job) > 2 * shortest + 64):
            yield group
            group = []
        group.append((i, job))
    if group:
        yield group
