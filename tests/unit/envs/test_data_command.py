"""`agentsearch data`: what an environment says of its files, for people and for programs."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentsearch.cli.main import app
from agentsearch.errors import ConfigError
from agentsearch_envs.data_command import check_data, with_data


@dataclass(frozen=True)
class Report:
    catalogue: str
    files: tuple[str, ...]
    without_price: int


class Shop:
    """An environment that reads one file."""

    @staticmethod
    def check_data(folder: Path) -> Report:
        path = folder / "items.json"
        if not path.is_file():
            raise ConfigError(f"{path}: no such file. Put it there.")
        return Report("items-12000", (path.name, "\x1b[2Jcolours.json"), 12_000)


SHOP = f"{__name__}:Shop"


def run(*args):
    return CliRunner().invoke(app, ["data", *map(str, args)], catch_exceptions=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "items.json").write_text("[]")
    return tmp_path


def test_a_row_for_each_field(folder):
    result = run(SHOP, folder)
    assert result.exit_code == 0
    rows = [line.split("  ", 1) for line in result.stdout.splitlines()]
    assert [(name.strip(), value.strip()) for name, value in rows] == [
        ("catalogue", "items-12000"),
        ("files", r"items.json, \x1b[2Jcolours.json"),  # what a file is called draws nothing
        ("without price", "12,000"),
    ]


def test_json_is_alone_on_stdout(folder):
    result = run(SHOP, folder, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    assert json.loads(result.stdout) == {
        "catalogue": "items-12000",
        "files": ["items.json", "\x1b[2Jcolours.json"],
        "without_price": 12_000,
    }


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path, as_json):
    result = run(SHOP, tmp_path, *as_json)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {tmp_path / 'items.json'}: no such file. Put it there.\n"


def test_an_environment_without_files_names_those_that_have_some(folder, monkeypatch):
    info = folder / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[agentsearch.envs]\nbroken = no_such_package:Env\ncorner_shop = {SHOP}\n"
    )
    monkeypatch.syspath_prepend(folder)
    found = list(with_data())
    assert "corner_shop" in found and not {"broken", "game24"} & set(found)
    with pytest.raises(ConfigError) as caught:
        check_data("game24", folder)
    assert str(caught.value) == (
        f"game24: reads no data files. Environments that do: {', '.join(found)}."
    )
    assert check_data("corner_shop", folder)["without_price"] == 12_000


def test_a_name_that_nobody_has(folder):
    result = run("game42", folder)
    assert result.exit_code == 2
    assert "environment 'game42': no such name. Did you mean 'game24'?" in result.stderr


def test_help_shows_how():
    result = run("--help")
    assert result.exit_code == 0 and "agentsearch data webshop data/webshop" in result.stdout


def test_webshop_checks_and_indexes(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for index in ("built", "cached"):
        report = json.loads(run("webshop", shared / "webshop", "--json").stdout)
        assert (report["catalogue"], report["index"]) == ("webshop-1000", index)
    result = run("webshop", tmp_path)
    assert result.exit_code == 2 and "has no items_shuffle.json[.gz]" in result.stderr
