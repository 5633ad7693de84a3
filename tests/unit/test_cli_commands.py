"""What the commands do, as functions: plans, names, estimates, summaries, catalogue."""

import asyncio
import dataclasses

import pytest
import yaml

from agentsearch import commands
from agentsearch.config import load_recipe
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import AgentSearchError, ConfigError, EngineError, SearchError
from agentsearch.runner import Result

RECIPE = {
    "env": "game24",
    "policy": "random",
    "value": "uniform",
    "search": {"name": "beam", "beam_width": 2},
    "budget": {"iterations": 10},
    "tasks": {"split": "dev", "limit": 3},
}
WORDY = {"name": "prompted", "engine": {"name": "scripted", "replies": ["1 + 1"]}}


def test_a_search_writes_a_run_folder_and_says_how_it_went(tmp_path):
    events = []
    report = commands.search(
        RECIPE, ["seed=5"], tmp_path, lambda name, task, result: events.append((name, task.id))
    )
    assert report.folder is not None and report.folder.parent == tmp_path
    assert {path.name for path in report.folder.iterdir()} == {
        "config.yaml",
        "journal.sqlite",
        "lock",
        "results.jsonl",
        "summary.json",
        "trees",
    }
    assert len(report.results) == len(list((report.folder / "trees").iterdir())) == 3
    assert [name for name, _ in events].count("finished") == 3
    summary = report.summary
    assert (summary["planned"], summary["tasks"], summary["seed"]) == (3, 3, 5)
    assert (summary["env"], summary["policy"], summary["search"]) == ("game24", "random", "beam")
    assert summary["per_task"]["env_steps"] == summary["usage"]["env_steps"] / 3
    assert summary["budget"] == {"iterations": 10} and summary["oracle"] == []
    speed, seconds = summary["throughput"], summary["wall_seconds"]
    assert set(speed) == {"calls_per_second", "tokens_per_second"}  # there is no server to ask
    assert speed["calls_per_second"] == pytest.approx(summary["usage"]["calls"] / seconds)


def test_a_run_is_repeated_from_its_own_config(tmp_path):
    first = commands.search(RECIPE, ["run=mine"], tmp_path)
    assert first.folder == tmp_path / "mine"
    again = commands.search(first.folder / "config.yaml", runs_dir=tmp_path)
    assert again.folder == tmp_path / "mine-2"
    third = commands.search(again.folder / "config.yaml", runs_dir=tmp_path)
    assert third.folder == tmp_path / "mine-3"
    actions = [{r.task_id: r.actions for r in each.results} for each in (first, again, third)]
    assert actions[0] == actions[1] == actions[2]


def test_config_records_what_it_was_made_with_and_loading_drops_it(tmp_path):
    report = commands.search(RECIPE, ["run=mine"], tmp_path)
    data = yaml.safe_load((report.folder / "config.yaml").read_text())
    made = data["made_with"]
    assert made["python"] and made["packages"]["networkx"] and made["date"][:2] == "20"
    assert set(made) == {"agentsearch", "commit", "python", "packages", "models", "date"}
    assert load_recipe(report.folder / "config.yaml") == load_recipe(
        {k: v for k, v in data.items() if k != "made_with"}
    )
    with pytest.raises(ConfigError, match="made_with: unknown key"):
        load_recipe(RECIPE, ["made_with.date=1"])


def test_a_name_that_was_chosen_has_to_be_free(tmp_path):
    commands.search(RECIPE, ["run=mine"], tmp_path)
    before = (tmp_path / "mine" / "results.jsonl").read_text()
    with pytest.raises(ConfigError, match=r"mine: already exists; choose another name"):
        commands.search(RECIPE, ["run=mine"], tmp_path)
    assert (tmp_path / "mine" / "results.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("a", "a-2"),
        ("a-2", "a-3"),
        ("a-19", "a-20"),
        ("a-0", "a-0-2"),
        ("a-20261120-160000", "a-20261120-160000-2"),
    ],
)
def test_names_are_counted_on(name, after):
    assert commands.next_name(name) == after


def test_the_default_name_says_what_and_when():
    recipe = load_recipe({**RECIPE, "search": "agentsearch.search.beam:Beam"})
    assert commands.default_name(recipe).startswith("game24-Beam-20")


@pytest.mark.parametrize("name", ["a/b", "../a", ".a", "", "a b", "-a", "a\n"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match="is no name for a folder"):
        commands.prepare({**RECIPE, "run": name})


def test_runs_that_cannot_be_written_are_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file.*: cannot be made"):
        commands.search(RECIPE, runs_dir=tmp_path / "file")


# -- before and after ------------------------------------------------------------------


class Down(ScriptedEngine):
    """A server that does not answer."""

    async def check(self):
        raise EngineError("http://nowhere cannot be reached.")


class Heavy(ScriptedEngine):
    """A model that is loaded."""

    loaded = []

    def load(self):
        self.loaded.append(self)


class Late(ScriptedEngine):
    """Fails with a user's mistake once it is really asked."""

    async def check(self):
        pass

    async def generate(self, request):
        raise ConfigError("late: is wrong after all.")


def with_engine(cls):
    engine = {"name": f"{cls.__module__}:{cls.__name__}", "replies": ["1 + 1"]}
    return {**RECIPE, "policy": {"name": "prompted", "engine": engine}, "budget": {"calls": 4}}


def test_a_server_that_is_down_leaves_no_folder(tmp_path):
    with pytest.raises(EngineError, match="cannot be reached"):
        commands.search(with_engine(Down), runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_mistake_that_shows_late_leaves_no_empty_folder(tmp_path):
    with pytest.raises(ConfigError, match="wrong after all"):
        commands.search(with_engine(Late), runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_models_are_loaded_before_the_folder_is_made(tmp_path):
    commands.search(with_engine(Heavy), runs_dir=tmp_path)
    assert len(Heavy.loaded) == 1


def test_an_engine_without_check_is_asked_for_one_token():
    asked = []
    engine = ScriptedEngine(reply=lambda request, i: asked.append(request.max_tokens) or "hi")
    plan = commands.prepare(RECIPE)
    asyncio.run(commands.preflight([*plan.builder.engines, commands.Metered(engine)]))
    assert asked == [1]


def test_a_bug_in_an_algorithm_is_a_crash(tmp_path):
    plan = commands.prepare(RECIPE)

    class Broken:
        choose = "best_value"

        async def search(self, problem):
            raise ZeroDivisionError

    broken = dataclasses.replace(plan, setup=dataclasses.replace(plan.setup, search=Broken()))
    with pytest.raises(ExceptionGroup):
        commands.carry_out(broken, tmp_path)


def test_failed_tasks_are_results_and_all_failed_is_told(tmp_path):
    class Mute(ScriptedEngine):
        async def generate(self, request):
            raise SearchError("mute")

    plan = commands.prepare({**RECIPE, "policy": WORDY})
    policy = dataclasses.replace(plan.setup.policy, engine=Mute(replies=["x"]))
    report = commands.carry_out(
        dataclasses.replace(plan, setup=dataclasses.replace(plan.setup, policy=policy)), tmp_path
    )
    assert report.summary["failed"] == 3 and commands.search_failed(report)
    report.results.append(Result("x"))
    assert not commands.search_failed(report)


@pytest.mark.parametrize(
    ("policy", "value", "named"),
    [("random", "uniform", []), ("oracle", "oracle", ["policy", "value"])],
)
def test_oracles_are_named(policy, value, named):
    plan = commands.prepare({**RECIPE, "policy": policy, "value": value})
    assert plan.setup.oracles == named


def test_an_oracle_is_known_by_what_it_is_not_by_its_name():
    value = "agentsearch.values.plain:OracleValue"
    assert commands.prepare({**RECIPE, "value": value}).setup.oracles == ["value"]


# -- estimates -------------------------------------------------------------------------


def estimated(*overrides, price_in=0.0, price_out=0.0, **changes):
    plan = commands.prepare({**RECIPE, **changes}, overrides)
    return commands.estimate(plan, price_in, price_out)


def test_limits_times_tasks():
    found = estimated(budget={"calls": 100, "tokens": 1000, "env_steps": 7, "seconds": 2.0})
    assert (found.tasks, found.searches, found.calls, found.tokens) == (3, 3, 300, 3000)
    assert (found.env_steps, found.seconds) == (21, 2.0)  # three tasks side by side
    assert estimated("concurrency=2", budget={"seconds": 2.0}).seconds == 4.0
    assert estimated("concurrency=auto", budget={"seconds": 2.0}).seconds == 2.0


def test_times_decisions_in_act_mode():
    found = estimated("mode=act", budget={"calls": 100})
    assert (found.searches, found.calls) == (9, 900)  # an episode has three moves
    assert estimated("mode=act", "commit=2", budget={"calls": 100}).calls == 900


def test_what_nothing_bounds_is_none():
    found = estimated()
    assert (found.calls, found.tokens, found.seconds, found.cost) == (None, None, None, None)


def test_costs_are_bounds_where_tokens_are():
    found = estimated(budget={"tokens": 1_000_000}, price_in=1.0, price_out=4.0)
    assert found.cost == 12.0


def test_costs_are_guessed_from_the_first_prompt_elsewhere():
    plan = commands.prepare({**RECIPE, "policy": {**WORDY, "max_tokens": 10}}, ["budget.calls=100"])
    prompt, reply = commands.rough_tokens(plan)
    assert reply == 10 and 20 < prompt < 100
    found = commands.estimate(plan, price_in=1.0, price_out=2.0)
    assert found.rough_tokens == 300 * (prompt + 10)
    assert found.cost == pytest.approx(300 * (prompt + 20) / 1e6)


def test_a_dry_run_asks_nothing_and_writes_nothing(tmp_path):
    report = commands.search(with_engine(Down), runs_dir=tmp_path, dry_run=True)
    assert report.estimate.calls == 12
    assert report.folder is None and not list(tmp_path.iterdir())


# -- for the record --------------------------------------------------------------------


def test_packages_and_the_extras_that_bring_them():
    found = commands.packages()
    assert found["networkx"][0] and found["networkx"][1] == ""
    assert found["torch"][1] == "hf" and found["vllm"][1] == "vllm"
    assert "ruff" not in found


def test_no_git_is_no_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commands.commit() is None


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ({"name": "votes"}, "votes"),
        ({"name": "scoring", "engine": {"name": "hf", "model": "tiny"}}, "scoring (hf:tiny)"),
        ({"name": "prompted", "engine": {"name": "scripted"}}, "prompted (scripted)"),
    ],
)
def test_a_component_on_one_line(component, text):
    assert commands.describe(component) == text


def test_the_catalogue_has_every_kind():
    found = commands.catalogue()
    named = {(each.kind, each.name): each for each in found}
    assert named["envs", "game24"].error == ""
    assert named["search", "mcts"].summary.startswith("Search by repeated")
    assert named["recipes", "game24/mcts"].summary.startswith("Monte-Carlo")
    assert {each.kind for each in commands.catalogue("search")} == {"search"}


def test_an_unknown_kind_gets_a_suggestion():
    with pytest.raises(AgentSearchError, match=r"'serach': no such kind. Did you mean 'search'\?"):
        commands.catalogue("serach")
