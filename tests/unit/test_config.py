"""Recipes: every mistake is one sentence that names the key, and what they build."""

import pytest

from agentsearch.budget import Metered
from agentsearch.config import (
    Builder,
    TaskChoice,
    as_component,
    choose_tasks,
    load_recipe,
    recipe_names,
)
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import AgentSearchError, ConfigError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.scripted import OraclePolicy
from agentsearch.search.beam import Beam
from agentsearch.search.mcts import MCTS
from agentsearch.values.plain import Uniform

RECIPE = {
    "env": "game24",
    "policy": "random",
    "value": "uniform",
    "search": {"name": "mcts", "width": 8},
    "budget": {"calls": 50},
    "tasks": {"split": "dev", "limit": 3},
}


def loaded(*overrides, **changes):
    return load_recipe({**RECIPE, **changes}, overrides)


def refused(*overrides, **changes):
    """The message, which has to be short and on one line."""
    with pytest.raises(AgentSearchError) as error:
        loaded(*overrides, **changes)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400, text
    return text


# -- reading ---------------------------------------------------------------------------


def test_names_and_mappings_are_components():
    recipe = loaded()
    assert recipe.env == {"name": "game24"}
    assert recipe.search == {"name": "mcts", "width": 8}
    assert (recipe.budget.calls, recipe.tasks.split, recipe.tasks.limit) == (50, "dev", 3)
    assert (recipe.mode, recipe.reward_visible, recipe.seed) == (None, False, 0)


def test_a_recipe_written_out_is_read_in_as_the_same(tmp_path):
    import yaml

    recipe = loaded("tasks.ids=[game24/1-1-4-6]", "policy=tiny", "budget.seconds=2.5")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    assert load_recipe(tmp_path / "config.yaml") == recipe


def test_overrides_come_last_and_the_last_one_wins():
    recipe = loaded("search.c_puct=2.0", "budget.calls=7", "budget.calls=9", "seed=4")
    assert recipe.search == {"name": "mcts", "width": 8, "c_puct": 2.0}
    assert (recipe.budget.calls, recipe.seed) == (9, 4)


def test_how_many_tasks_at_once_may_be_left_to_the_servers():
    assert loaded("concurrency=auto").to_dict()["concurrency"] == "auto"
    assert loaded('concurrency="8"').concurrency == 8  # as the option of that name gives it


def test_naming_a_component_exchanges_it_whole():
    assert loaded("search=beam").search == {"name": "beam"}
    assert loaded("search=beam", "search.beam_width=2").search == {"name": "beam", "beam_width": 2}
    assert loaded("env.rules=rational").env == {"name": "game24", "rules": "rational"}


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("tiny", {"name": "hf", "model": "tiny"}),
        ("hf:models/my-model", {"name": "hf", "model": "models/my-model"}),
        ("hf:C:/models", {"name": "hf", "model": "C:/models"}),
        (
            "openai:org/model@http://host:8000/v1",
            {"name": "openai", "model": "org/model", "base_url": "http://host:8000/v1"},
        ),
        ("openai:gpt", {"name": "openai", "model": "gpt"}),
    ],
)
def test_a_policy_can_be_named_by_its_engine(text, engine):
    assert as_component("policy", text) == {"name": "prompted", "engine": engine}
    assert as_component("policy", {"name": "react", "engine": text})["engine"] == engine


def test_a_shorthand_keeps_its_meaning_when_a_field_is_set():
    short = {"name": "prompted", "engine": {"name": "hf", "model": "models/x"}}
    assert loaded("policy=hf:models/x").policy == short
    assert loaded("policy=hf:models/x", "policy.max_tokens=5").policy == {**short, "max_tokens": 5}
    assert loaded("policy.max_tokens=5", policy="hf:models/x").policy == {**short, "max_tokens": 5}


def test_a_shorthand_of_an_engine_too():
    overrides = ("policy=prompted", "policy.engine=hf:x", "policy.engine.device=cpu")
    assert loaded(*overrides).policy["engine"] == {"name": "hf", "model": "x", "device": "cpu"}


def test_shipped_recipes_have_short_names_and_load():
    for name in recipe_names():
        assert load_recipe(name).search["name"]


def test_private_code_is_named_by_its_module():
    assert loaded("env=tests.toy:Letters", "search=agentsearch.search.beam:Beam")
    assert "word" in refused("env=tests.toy:Letters", "env.wrod=x")


# -- mistakes --------------------------------------------------------------------------


def test_an_unknown_key_gets_a_suggestion():
    assert refused("search.c_put=2").startswith("search.c_put: unknown key. Did you mean 'c_puct'?")
    assert refused("budget.cals=2").startswith("budget.cals: unknown key. Did you mean 'calls'?")
    assert refused("serch=mcts").startswith("serch: unknown key. Did you mean 'search'?")
    assert "Keys: width, selection, c_puct," in refused("search.xyz=2")


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("search.width=many", "search.width='many': input should be a valid integer"),
        ("search.width=2.5", "search.width=2.5: input should be a valid integer"),
        ("search.selection=puc", "search.selection='puc': input should be 'puct' or 'uct'"),
        ("search.choose=best", "search.choose='best': input should be"),
        ("mode=plann", "mode='plann': input should be 'plan' or 'act'"),
        ("budget.calls=a", "budget.calls='a': input should be a valid integer"),
        ("reward_visible=perhaps", "reward_visible='perhaps': input should be a valid boolean"),
        ("budget=5", "budget=5: "),
        ("search=5", "search=5: expected a name, or a mapping with a name."),
        ("search={width: 3}", "search: has no name; write search=NAME or search.name=NAME."),
        ("policy={name: prompted, engine: {model: x}}", "policy.engine: has no name"),
        ("policy=openai:@http://h/v1", "'openai:@http://h/v1': names no model"),
        ("concurrency=0", "concurrency=0: must be at least 1, or auto."),
        ("concurrency=many", "concurrency='many': input should be a valid integer"),
        ("concurrency=2.5", "concurrency=2.5: input should be a valid integer"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(override, start):
    assert refused(override).startswith(start)


def test_an_unknown_name_gets_a_suggestion():
    assert refused("search=mtcs").startswith("search 'mtcs': no such name. Did you mean 'mcts'?")
    assert refused("env=gaem24").startswith("environment 'gaem24': no such name. Did you mean 'gam")
    assert refused("policy={name: prompted, engine: scriptd}").startswith(
        "engine 'scriptd': no such name. Did you"
    )


def test_a_search_is_made_before_any_model():
    with pytest.raises(ConfigError, match="^search.width=0: must be at least 1"):
        built("search.width=0", "policy=hf:no/such/model")


@pytest.mark.parametrize("calls", [0, -3])
def test_an_impossible_budget_is_refused(calls):
    text = f"budget.calls={calls}: must be more than 0 and finite; leave it out for no limit"
    assert refused(f"budget.calls={calls}").startswith(text)


def test_no_budget_at_all_is_refused():
    assert refused("budget.calls=null").startswith("budget: no limit is set; set at least one")
    assert refused(budget={}).startswith("budget: no limit is set; set at least one")


@pytest.mark.parametrize("override", ["search", "=3", "search.c_puct 2", " =3"])
def test_what_is_no_override_is_told_how_to_write_one(override):
    assert refused(override).startswith(f"{override!r}: not an override; write key=value")


@pytest.mark.parametrize(
    "override", ["search.c_puct=[1", "run=${nope}", "seed.x=3", "search.width.x=3"]
)
def test_an_override_that_cannot_be_applied_is_quoted(override):
    assert override.split("=")[0].split(".")[0] in refused(override)


def test_a_missing_recipe_gets_a_suggestion():
    with pytest.raises(ConfigError) as error:
        load_recipe("game24/mtcs")
    assert str(error.value).startswith("recipe 'game24/mtcs': no such file or short name. Did you")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("search: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("- 1\n- 2", "holds no mapping"),
        ("just words", "just words: unknown key."),
        ("run: ${nope}", "not valid YAML"),
        ("search: mcts\nsearch: beam", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_sentence(text, says, tmp_path):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_recipe(tmp_path / "r.yaml")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="r.yaml: "):
        load_recipe(tmp_path / "r.yaml")


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("")
    assert load_recipe(tmp_path / "r.yaml").search == {"name": "mcts"}


# -- building --------------------------------------------------------------------------


def built(*overrides, **changes):
    return Builder().setup(loaded(*overrides, **changes))


def test_a_setup_holds_what_the_recipe_names():
    setup = built("mode=act", "commit=2", "seed=3")
    assert setup.search == MCTS(width=8) and setup.value == Uniform()
    assert (setup.mode, setup.commit, setup.seed, setup.limits.calls) == ("act", 2, 3, 50)
    assert built("search=beam").search == Beam()


def test_the_environment_goes_to_those_who_need_it():
    setup = built("policy=oracle")
    assert isinstance(setup.policy, OraclePolicy) and setup.policy.env is setup.env


def test_equal_engines_are_one_and_every_engine_is_metered():
    engine = {"name": "scripted", "replies": ["1 + 2"]}
    builder = Builder()
    recipe = loaded(policy={"name": "prompted", "engine": engine}, value={"name": "votes"})
    setup = builder.setup(recipe)
    assert isinstance(setup.policy, Prompted) and isinstance(setup.policy.engine, Metered)
    assert setup.value.engine is setup.policy.engine
    assert isinstance(setup.policy.engine.engine, ScriptedEngine)
    other = {"name": "votes", "engine": {**engine, "replies": ["sure"]}}
    apart = Builder().setup(loaded(policy={"name": "prompted", "engine": engine}, value=other))
    assert apart.value.engine is not apart.policy.engine


def test_a_required_field_is_asked_for():
    assert (
        refused(policy={"name": "scripted"}) == "policy.script: is required; set policy.script=..."
    )


def test_a_class_that_cannot_be_made_is_a_sentence():
    with pytest.raises(ConfigError, match="search: .*Plain cannot be made"):
        built(search={"name": "tests.unit.test_config:Plain", "x": 1})


class Plain:
    """No dataclass: its fields cannot be checked before it is made."""


# -- tasks -----------------------------------------------------------------------------


def chosen(**fields):
    return [task.id for task in choose_tasks(built(), TaskChoice(**fields))]


def test_tasks_are_a_slice_of_a_split():
    everything = chosen(split="dev")
    assert chosen(split="dev", start=2, limit=3) == everything[2:5]
    assert chosen(split="dev", start=len(everything) - 1, limit=3) == everything[-1:]


def test_tasks_can_be_named():
    first, second = chosen(split="dev", limit=2)
    assert chosen(split="dev", ids=(second, first)) == [second, first]


def test_no_task_at_all_is_told():
    with pytest.raises(ConfigError, match="tasks: nothing to run; split 'dev' has .* leaves none"):
        chosen(split="dev", start=10**6)


def test_a_task_of_another_split_is_named_with_the_closest():
    with pytest.raises(ConfigError, match="tasks.ids: 'game24/1-1-4' is not in split 'dev'"):
        chosen(split="dev", ids=("game24/1-1-4",))


def test_an_unknown_split_is_named():
    with pytest.raises(ConfigError, match="unknown split 'tset'.*Did you mean 'test'"):
        chosen(split="tset")


def test_an_engine_or_environment_where_none_belongs_is_an_unknown_key():
    assert refused("search={name: mcts, engine: tiny}").startswith("search.engine: unknown key")
    assert refused("search={name: mcts, env: game24}").startswith("search.env: unknown key")
    assert refused("value={name: oracle, env: game24}").startswith("value.env: unknown key")


def test_numbers_must_be_finite():
    assert refused("search.c_puct=nan").startswith("search.c_puct")
    assert refused("search.c_puct=.inf").startswith("search.c_puct")
    assert refused("budget.seconds=nan").startswith("budget.seconds='nan'")
