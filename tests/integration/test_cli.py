"""The command line as a user meets it: output, exit codes, and what is left behind."""

import asyncio
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import networkx
import pytest
import yaml
from typer.testing import CliRunner

from agentsearch.cli.main import app

ROOT = Path(__file__).parents[2]
RANDOM = ["game24/random", "--quiet"]
SLOW = """
policy: {name: prompted, engine: {name: scripted, replies: ["1 + 1"], latency_s: 0.4}}
value: uniform
search: {name: beam}
budget: {calls: 20}
tasks: {split: dev, limit: 40}
concurrency: 4
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*args):
    """In this process."""
    return CliRunner().invoke(app, list(args), catch_exceptions=False)


def spawn(*args, python=(), **env):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "agentsearch", *args],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def refused(*args):
    """The one sentence on stderr; nothing may be left behind."""
    before = set(Path().rglob("*"))
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert set(Path().rglob("*")) == before
    return result.stderr


# -- the program -----------------------------------------------------------------------


def test_help_and_version_in_a_process():
    code, out, _ = finished(spawn("--version"))
    assert code == 0 and re.fullmatch(r"agentsearch \d+\.\d+\.\d+\n", out)
    code, out, _ = finished(spawn("--help"))
    assert code == 0 and "search" in out and "doctor" in out


COMMANDS = ["search", "list", "check", "doctor", "view", "collect", "train", "loop", "serve"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Examples:\n    agentsearch {command}" in result.output and "--json" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from agentsearch.cli.main import app\n"
        "print([m for m in ('torch', 'scipy', 'pydantic', 'openai', 'networkx', 'transformers')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("args", [["serach"], ["search"], ["search", "--nothing"], ["view"]])
def test_wrong_usage_is_exit_code_2(args):
    result = run(*args)
    assert result.exit_code == 2 and "Usage:" in result.stderr


def test_commands_of_other_packages_are_found_and_a_broken_one_says_so(tmp_path):
    info = tmp_path / "site" / "other-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[agentsearch.commands]\nhello = other:hello\nbroken = no_such_package:x\n"
    )
    (tmp_path / "site" / "other.py").write_text(
        "def hello(name: str) -> None:\n    '''Greet.'''\n    print(f'hello {name}')\n"
    )
    site = {"PYTHONPATH": str(tmp_path / "site")}
    code, out, _ = finished(spawn("--help", **site))
    assert code == 0 and "Greet." in out and "cannot be loaded" in out
    assert finished(spawn("hello", "you", **site))[1] == "hello you\n"
    code, _, err = finished(spawn("broken", **site))
    assert code == 2 and err.startswith("Error: command 'broken'") and err.count("\n") == 1


# -- search ----------------------------------------------------------------------------


def test_search_prints_a_table_and_writes_the_run_folder():
    result = run("search", *RANDOM, "tasks.limit=4", "--run", "first")
    assert result.exit_code == 0
    for name in ("success", "95 % interval", "calls / task", "env steps / task", "failed tasks"):
        assert name in result.stdout
    assert "plan, reward hidden, can go back" in result.stdout
    assert "agentsearch view runs/first" in result.stdout
    assert len(list(Path("runs/first/trees").iterdir())) == 4


def test_json_is_alone_on_stdout():
    result = run("search", "game24/random", "tasks.limit=2", "--json")
    summary = json.loads(result.stdout)
    assert summary["tasks"] == 2 and "2/2" in result.stderr
    folder = Path("runs") / summary["run"]
    assert json.loads((folder / "summary.json").read_text()) == summary


def test_quiet_shows_no_progress():
    assert run("search", *RANDOM, "tasks.limit=2").stderr == ""


def test_shorthands_come_before_overrides():
    result = run(
        "search", *RANDOM, "--json", "tasks.limit=1", "search.width=3",
        "--search", "beam", "--env", "game24", "--policy", "oracle", "--run", "0",
    )  # fmt: skip
    summary = json.loads(result.stdout)
    assert (summary["search"], summary["policy"], summary["run"]) == ("beam", "oracle", "0")
    assert summary["correct"] == 1


def test_a_run_is_repeated_from_its_config_and_the_first_is_kept():
    run("search", *RANDOM, "tasks.limit=2", "run=mine")
    assert run("search", "runs/mine/config.yaml", "--quiet").exit_code == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mine", "mine-2"]
    assert "already exists" in refused("search", "game24/random", "run=mine")


def test_an_oracle_is_shouted():
    result = run("search", *RANDOM, "tasks.limit=1", "policy=oracle", "value=oracle")
    assert result.stdout.count("ORACLE") == 2 and "this is no result" in result.stdout


def test_a_dry_run_prints_bounds_and_the_price():
    result = run(
        "search", "game24/mcts", "--dry-run", "--price-in", "1", "--price-out", "2",
        "tasks.limit=10", "budget.tokens=100_000",
    )  # fmt: skip
    assert result.exit_code == 0 and not Path("runs").exists()
    assert re.search(r"calls +at most 1,000\b", result.stdout)
    assert re.search(r"tokens +at most 1,000,000\b", result.stdout)
    assert re.search(r"cost +at most \$2.00\b", result.stdout)
    assert "Upper bounds" in result.stdout
    plain = run("search", "game24/mcts", "--dry-run", "--json", "mode=act", "tasks.limit=10")
    assert json.loads(plain.stdout)["calls"] == 3000


def test_when_every_task_fails_the_exit_code_is_1():
    result = run("search", *RANDOM, "tasks.limit=2", "policy=tests.integration.test_cli:Raises")
    assert result.exit_code == 1
    assert "2 failed; the first: game24/" in result.stdout
    assert "RuntimeError: [red]no[/red] \\x1b[31m" in result.stdout
    assert "\x1b" not in result.stdout


class Raises:
    """A policy of no use."""

    async def propose(self, context, n, *, seed, mode="sample"):
        raise RuntimeError("[red]no[/red] \x1b[31m")


def test_failures_on_the_way_are_shown():
    args = ["game24/random", "tasks.limit=2", "policy=tests.integration.test_cli:Raises"]
    assert "warning: task game24/" in run("search", *args).stderr


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["search.widht=3"], r"search.widht: unknown key. Did you mean 'width'\?"),
        (["budgets.calls=3"], r"budgets: unknown key. Did you mean 'budget'\?"),
        (["search.width=many"], r"search.width='many': input should be a valid integer"),
        (["budget.calls=0"], r"budget.calls=0: must be more than 0"),
        (["budget.calls=-5"], r"budget.calls=-5: must be more than 0"),
        (["budget.calls=null", "budget.iterations=null"], r"budget: no limit is set"),
        (["tasks.limit=0"], r"tasks.limit=0: leaves no task to run"),
        (["tasks.start=9999"], r"tasks: nothing to run"),
        (["tasks.split=nope"], r"unknown split 'nope'"),
        (["tasks.ids=[game24/1]"], r"is not in split 'dev'"),
        (["concurrency=0"], r"concurrency=0: must be at least 1"),
        (["--search", "mctz"], r"search 'mctz': no such name. Did you mean 'mcts'\?"),
        (["policy=no_such_module:X"], r"no_such_module:X cannot be loaded"),
        (["value=rollout"], r"needs the reward, which is hidden"),
        (["--policy", "hf:/no/such/folder"], r"'/no/such/folder' is no folder"),
        (["--policy", "tiny-v999"], r"'tiny-v999' does not ship"),
        (["--run", "a/b"], r"is no name for a folder"),
        (["seed"], r"'seed': not an override"),
        (["search.c={a"], r"cannot be applied"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(overrides, says):
    assert re.search(says, refused("search", "game24/mcts", *overrides))


def test_a_missing_recipe_and_a_broken_file(tmp_path):
    assert "Did you mean 'game24/mcts'?" in refused("search", "game24/mctss")
    Path("broken.yaml").write_text("env: [")
    assert "not valid YAML" in refused("search", "broken.yaml")
    Path("list.yaml").write_text("- env")
    assert "holds no mapping" in refused("search", "list.yaml")


def test_a_server_that_is_not_there_is_one_sentence():
    pytest.importorskip("aiohttp")
    policy = '{name: prompted, engine: {name: openai, model: M, base_url: "%s", retries: 0}}'
    nowhere = "http://127.0.0.1:9/v1"
    message = refused("search", "game24/mcts", f"policy={policy % nowhere}")
    assert "http://127.0.0.1:9/v1 cannot be reached" in message


def hide(tmp_path, *packages):
    """A folder for PYTHONPATH that makes packages look as if they were not installed."""
    folder = tmp_path / "hidden"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            import importlib.machinery as machinery

            find = machinery.PathFinder.find_spec

            def find_spec(name, path=None, target=None):
                return None if name.partition(".")[0] in {packages!r} else find(name, path, target)

            machinery.PathFinder.find_spec = find_spec
            """
        )
    )
    return str(folder)


@pytest.mark.parametrize(
    ("missing", "policy", "extra"),
    [("torch", "tiny", "hf"), ("aiohttp", "openai:M@http://127.0.0.1:9/v1", "openai")],
)
def test_a_missing_extra_is_named(tmp_path, missing, policy, extra):
    hidden = hide(tmp_path, missing)
    code, out, err = finished(spawn("search", "game24/mcts", "--policy", policy, PYTHONPATH=hidden))
    assert (code, out) == (2, "")
    assert err.startswith("Error: ") and err.count("\n") == 1
    assert f"pip install 'agentsearch[{extra}]'" in err
    assert not Path("runs").exists()


def test_doctor_is_content_without_torch(tmp_path):
    hidden = hide(tmp_path, "torch", "transformers")
    code, out, err = finished(spawn("doctor", PYTHONPATH=hidden))
    assert code == 0, out + err
    assert "unknown: torch is not installed" in out and "usable" in out


def test_ctrl_c_keeps_what_had_finished():
    Path("slow.yaml").write_text(SLOW)
    process = spawn("search", "slow.yaml", "--run", "slow")
    lines = Path("runs/slow/results.jsonl")
    patience = time.monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") >= 2):
        assert time.monotonic() < patience, "nothing finished"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    last = err.strip().splitlines()[-1]
    told = re.match(r"Interrupted: (\d+) of 40 tasks had finished and are kept in (.*?), ", last)
    assert told and told[2] == "runs/slow"
    assert last.endswith("Go on with: agentsearch search --resume runs/slow")
    results = [json.loads(line) for line in lines.read_text().splitlines()]
    summary = json.loads(Path("runs/slow/summary.json").read_text())
    assert len(results) == int(told[1]) == summary["tasks"] and summary["planned"] == 40
    assert run("view", "slow").exit_code == 0


def test_ctrl_c_before_the_run_writes_nothing():
    policy = "policy={name: prompted, engine: {name: 'tests.integration.test_cli:Waits'}}"
    process = spawn("search", "game24/mcts", policy, PYTHONPATH=str(ROOT))
    patience = time.monotonic() + 60
    while not Path("waiting").exists():
        assert time.monotonic() < patience, "the model was never reached"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130 and "nothing was written" in err
    assert not Path("runs").exists()


class Waits:
    """An engine whose server never answers."""

    async def check(self):
        Path("waiting").touch()
        await asyncio.sleep(100)

    async def close(self):
        pass


def text_of(folder):
    """Everything in a run folder, names and unpacked trees too; test_faulty_runs reads journals."""
    for path in folder.rglob("*"):
        yield path.name
        if path.is_file():
            data = path.read_bytes()
            whole = gzip.decompress(data) if path.suffix == ".gz" else data
            yield whole.decode(errors="replace")


# -- with models -----------------------------------------------------------------------


@pytest.fixture
def server():
    pytest.importorskip("aiohttp")
    from tests.integration.test_openai_engine import FakeServer

    with FakeServer() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


KEY = "sk-very-secret-0123456789"


def test_no_key_is_in_a_run_folder_or_on_the_screen(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", f"hf_{KEY}")
    server.key = KEY
    policy = f"openai:fake@{server.url}"
    search = run(
        "search", "game24/best_first_paper", "--policy", policy, "value=uniform",
        "tasks.limit=2", "budget.calls=8", "--run", "keyed",
    )  # fmt: skip
    assert search.exit_code == 0, search.output
    seen = [search.output, run("doctor", "--policy", policy).output, *text_of(Path("runs/keyed"))]
    assert not any(KEY in text for text in seen)

    server.key = "another"
    wrong = refused("search", "game24/best_first_paper", "--policy", policy)
    assert "refused the key" in wrong and KEY not in wrong
    doctor = run("doctor", "--policy", policy)
    assert doctor.exit_code == 1 and KEY not in doctor.output


def test_doctor_shakes_hands_with_a_server(server):
    result = run("doctor", "--policy", f"openai:fake@{server.url}", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["rows"]}
    assert result.exit_code == 0
    assert rows["models"]["detail"] == "fake, fake-large, policy@0007"
    for name in ("n > 1", "log-probabilities", "token ids", "seeds", "scores given texts"):
        assert rows[name]["ok"], rows[name]
    server.gives_ids, server.ignores_n, server.missing = False, True, {"/tokenize"}
    result = run("doctor", "--policy", f"openai:fake@{server.url}", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["rows"]}
    assert not rows["token ids"]["ok"] and not rows["scores given texts"]["ok"]


def test_doctor_fails_on_a_model_that_is_not_served(server):
    result = run("doctor", "--policy", f"openai:other@{server.url}")
    assert result.exit_code == 1 and "not usable: model" in result.stdout


def test_the_tiny_model_searches():
    pytest.importorskip("torch")
    result = run(
        "search", "game24/mcts", "tasks.limit=2", "budget.calls=6", "--run", "tiny", "--json"
    )
    summary = json.loads(result.stdout)
    assert summary["failed"] == 0 and 0 < summary["per_task"]["calls"] <= 6
    assert "tiny-v" in Path("runs/tiny/config.yaml").read_text()
    shown = run("view", "tiny", "1-1-1-12", "--node", "1").stdout
    assert "reply tokens" in shown and "policy version" in shown


# -- view ------------------------------------------------------------------------------


@pytest.fixture
def mine():
    args = ["search=beam", "value=uniform", "tasks.limit=3", "--run", "mine"]
    assert run("search", *RANDOM, *args).exit_code == 0
    return Path("runs/mine")


def test_view_lists_the_tasks(mine):
    for name in ("mine", "runs/mine"):
        text = run("view", name, "--terminal").stdout
        assert text.count("game24/") == 3 and "verdict" in text and "3 of 3 tasks" in text
    found = json.loads(run("view", "mine", "--json").stdout)
    assert len(found["results"]) == 3 and found["summary"]["run"] == "mine"


def test_view_shows_a_tree_by_id_part_and_file(mine):
    whole = run("view", "mine", "game24/1-1-1-12", "--terminal").stdout
    assert "* #0  Numbers: 1 1 1 12" in whole and "verdict" in whole
    assert run("view", "mine", "1-12", "--terminal").stdout == whole
    file = mine / "trees" / "game24+1-1-1-12.json.gz"
    assert run("view", "mine", str(file), "--terminal").stdout == whole
    assert len(run("view", "mine", "1-12", "--depth", "1", "--top", "1").stdout) < len(whole)
    assert json.loads(run("view", "mine", "1-12", "--json").stdout)["nodes"]


def test_view_shows_a_node(mine):
    assert "raw text" in run("view", "mine", "1-12", "--node", "1").stdout
    assert json.loads(run("view", "mine", "1-12", "--node", "1", "--json").stdout)["id"] == 1
    assert "the tree has nodes 0 to" in refused("view", "mine", "1-12", "--node", "999")


def test_view_exports_graphml(mine):
    assert run("view", "mine", "1-12", "--graphml", "tree.graphml").exit_code == 0
    nodes = json.loads(run("view", "mine", "1-12", "--json").stdout)["nodes"]
    assert len(networkx.read_graphml("tree.graphml")) == len(nodes)
    assert "cannot be written" in refused("view", "mine", "1-12", "--graphml", "no/such/x.graphml")


def test_view_says_what_is_missing_or_damaged(mine):
    assert "no such folder, here or in runs. Did you mean 'mine'?" in refused("view", "mini")
    assert "has no such task" in refused("view", "mine", "nope")
    assert "fits 3 tasks" in refused("view", "mine", "game24")
    assert "need a TASK" in refused("view", "mine", "--node", "1")
    tree = mine / "trees" / "game24+1-1-1-12.json.gz"
    tree.write_bytes(tree.read_bytes()[:60])
    assert "cannot be read as a tree" in refused("view", "mine", "1-1-1-12")
    Path("mine.json.gz").write_bytes(b"no tree")
    assert "cannot be read as a tree" in refused("view", "mine", "mine.json.gz")
    with (mine / "results.jsonl").open("a") as results:
        results.write('{"task_id": "cut')
    assert run("view", "mine").exit_code == 0  # the line the run died in costs no other
    with (mine / "results.jsonl").open("a") as results:
        results.write("\n")
    assert "results.jsonl, line 4" in refused("view", "mine")


# -- list and check --------------------------------------------------------------------


def test_list_names_everything():
    text = run("list").stdout
    for name in ("game24", "mcts", "scoring", "votes", "hf", "game24/mcts", "recipes"):
        assert name in text
    names = {each["name"] for each in json.loads(run("list", "recipes", "--json").stdout)}
    assert {"game24/mcts", "game24/best_of_n", "game24/policy_only"} <= names
    assert all(each["summary"] for each in json.loads(run("list", "recipes", "--json").stdout))
    assert "Did you mean 'search'?" in refused("list", "serach")


def test_list_goes_on_past_a_broken_plugin(tmp_path):
    info = tmp_path / "site" / "bad-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[agentsearch.search]\nbad = no_such_package:X\n")
    site = str(tmp_path / "site")
    code, out, _ = finished(spawn("list", "search", PYTHONPATH=site, COLUMNS="300"))
    assert code == 0 and "broken: search 'bad': no_such_package:X cannot be loaded" in out
    assert "mcts" in out


def test_check_passes_and_fails():
    result = run("check", "game24")
    assert result.exit_code == 0 and "environment game24: all checks passed" in result.stdout
    found = json.loads(run("check", "mcts", "--json").stdout)
    assert found["kind"] == "search" and all(each["passed"] for each in found["findings"])
    broken = run("check", "tests.integration.test_cli:Nothing", "--kind", "search")
    assert broken.exit_code == 1 and "FAILED" in broken.stdout


class Nothing:
    """A search that grows nothing."""

    async def search(self, problem):
        pass


def test_check_wants_a_name_that_is_clear():
    assert "choose one with --kind policies|values" in refused("check", "oracle")
    assert "give its kind too" in refused("check", "some.module:Class")
    assert "no plug-in has this name. Did you mean 'mcts'?" in refused("check", "mctz")
    assert "no such name" in refused("check", "game24", "--kind", "search")
    assert "no such kind" in refused("check", "game24", "--kind", "envz")


# -- servers that cannot score ---------------------------------------------------------


def test_the_mcts_recipe_runs_against_a_chat_only_server(server):
    """Judgments are sampled there, and the run's own recipe says so."""
    server.missing = {"/tokenize", "/v1/completions"}
    policy = f"openai:fake@{server.url}"
    done = run("search", "game24/mcts", "--policy", policy, "tasks.limit=2", "budget.calls=12",
               "--run", "chat", "--json")  # fmt: skip
    assert done.exit_code == 0, done.output
    value = yaml.safe_load(Path("runs/chat/config.yaml").read_text())["value"]
    assert value == {"name": "votes", "expected": False}
    assert json.loads(done.stdout)["failed"] == 0
    judged = [body for body in server.chats() if "still be done" in body["messages"][-1]["content"]]
    assert judged and all(body["n"] == 3 for body in judged)


def test_votes_are_expectations_where_the_server_scores(server):
    done = run("search", "game24/mcts", "--policy", f"openai:fake@{server.url}", "tasks.limit=1",
               "budget.calls=12", "--run", "scores")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(Path("runs/scores/config.yaml").read_text())["value"]["expected"] is True


def test_the_scoring_policy_is_refused_by_a_chat_only_server(server):
    server.missing = {"/tokenize", "/v1/completions"}
    engine = f"policy.engine=openai:fake@{server.url}"
    message = refused("search", "game24/mcts", engine, "run=never")
    assert "use policy 'prompted'" in message
    assert not Path("runs/never").exists()
