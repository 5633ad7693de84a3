"""WebShop as an environment: settings, tasks, steps, keys, verdicts, oracle, rules."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace

import pytest

from agentsearch.conformance import check_environment
from agentsearch.errors import ConfigError
from agentsearch.policies.scripted import Random, Rule
from agentsearch.protocols import Environment, Oracle
from agentsearch.types import Context, Step, Task, Trajectory, Turn, Verdict
from agentsearch_envs.webshop import WebShop, environment, pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.goals import instruction, prompt
from agentsearch_envs.webshop.shop import State
from tests.small_shop import LAMP, MARKUP, ODD, SHIRT, TEA, SmallWebShop

SMALL = SmallWebShop()
SHIRT_TASK, LAMP_TASK, MUG_TASK, TEA_TASK, ODD_TASK, CHEAP_TASK = SMALL.tasks("test")
RIGHT = ("search[shirt]", "click[B00SHIRT01]", "click[large]", "click[red]", "click[Buy Now]")


@pytest.fixture(scope="module")
def generated() -> WebShop:
    """The default: our own products."""
    return WebShop()


def after(env: WebShop, state: State, *actions: str) -> Step[State]:
    step = Step(state)
    for action in actions:
        step = asyncio.run(env.step(step.state, action))
    return step


def judge(env: WebShop, task: Task, *actions: str) -> Verdict:
    turns = tuple(Turn("", action) for action in actions)
    path = Trajectory(task.id, turns, terminated=True, truncated=False)
    return asyncio.run(env.verifier.verify(task, path, None))


def context(env: WebShop, task: Task, *actions: str) -> Context:
    """What a policy gets after actions."""
    state, turns = env.first_state(task), tuple[Turn, ...]()
    for action in actions:
        turns = (*turns, Turn(env.observe(state), action))
        step = env.take(state, action)
        assert step.valid, action
        state = step.state
    return Context(task.prompt, env.observe(state), turns, env.legal_actions(state))


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "env.max_steps=0: must be at least 1."),
        ({"products": 0}, "env.products=0: must be at least 1."),
        (
            {"goals": "humans"},
            "env.goals='humans': no such choice. Did you mean 'human'? Known: synthetic, human.",
        ),
        (
            {"observation": "txt"},
            "env.observation='txt': no such choice. Did you mean 'text'? "
            "Known: brief, text, text_rich, html, url, react.",
        ),
        ({"tagger": "word"}, "env.tagger='word': no such tagger. Did you mean 'words'?"),
        ({"tagger": "no_such_module:tag"}, "env.tagger='no_such_module:tag': cannot be loaded"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError) as raised:
        WebShop(**settings)
    assert str(raised.value).startswith(message)


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere: no such directory"):
        WebShop(data=str(tmp_path / "nowhere")).tasks("test")


@pytest.mark.parametrize("split", ["tset", "", "validation"])
def test_splits_that_do_not_exist_are_named(split):
    with pytest.raises(ConfigError, match=r"tasks\.split=.*: no such split.*train, dev, test"):
        SMALL.tasks(split)


# Contract and tasks


def test_it_keeps_every_contract_of_an_environment(generated: WebShop):
    assert [each for each in check_environment(generated, tasks=5) if not each.passed] == []
    env: Environment[State] = generated
    oracle: Oracle = generated.oracle()
    assert isinstance(env, Environment) and oracle
    spec = env.spec
    assert (spec.id, spec.version, spec.actions, spec.mode) == ("webshop", "1", "template", "act")
    assert spec.reversible and spec.max_steps == 15


@pytest.mark.parametrize("mode", pages.MODES)
def test_the_small_shop_keeps_every_contract_in_every_mode(mode):
    env = SmallWebShop(observation=mode, show_attributes=True, special_searches=True)
    found = check_environment(env, split="test", tasks=4)
    assert [each for each in found if not each.passed] == []


def test_splits_are_disjoint_and_sized_as_published(generated: WebShop):
    sizes = {split: len(generated.tasks(split)) for split in ("test", "dev", "train")}
    goals = len(generated.shop.goals)
    assert sizes == {"test": 500, "dev": 1000, "train": goals - 1500} and goals > 2000
    for split, first in (("test", 0), ("dev", 500), ("train", 1500)):
        tasks = generated.tasks(split)
        assert tasks[0].data["goal"] == first and tasks[-1].data["goal"] == first + len(tasks) - 1
        assert [task.id for task in tasks[2:4]] == [tasks[2].id, tasks[3].id]
        with pytest.raises(IndexError):
            tasks[len(tasks)]


def test_few_goals_leave_splits_empty():
    assert [len(SMALL.tasks(split)) for split in ("test", "dev", "train")] == [6, 0, 0]


def test_a_task_names_its_catalogue_and_kind_of_goal_and_tells_no_more():
    assert (
        Task(
            "webshop/small/synthetic/0",
            "Shop for: find me a cotton shirt with color: red, and size: large, and price lower "
            "than 30.00 dollars\nActions: search[words], click[label]",
            {"catalogue": "small", "goals": "synthetic", "goal": 0},
        )
        == SHIRT_TASK
    )
    human = SmallWebShop(goals="human").tasks("test")[0]
    assert (human.id, human.data["goals"]) == ("webshop/small/human/0", "human")


def test_the_generated_catalogue_is_named_by_its_seed():
    named = {
        WebShop(catalogue_seed=seed, products=60).tasks("test")[0].id.split("/")[1]
        for seed in (0, 1)
    }
    assert len(named) == 2 and all("generated" in name for name in named)


@pytest.mark.parametrize("wanted", ["a mug", "two\nlines", "Shop for: x\nActions: y", MARKUP, ""])
def test_an_instruction_is_read_back_from_its_prompt(wanted):
    assert instruction(prompt(wanted)) == wanted


SHOW_TASKS = """
from agentsearch_envs.webshop import WebShop
env = WebShop(products=150)
for split in ("train", "dev", "test"):
    for task in env.tasks(split)[:40]:
        print(task)
        print(env.shop.goals[task.data["goal"]])
print(env.shop.prices)
state = env.take(env.first_state(task), "search[" + task.prompt.split(",")[0] + "]").state
print(state, env.observe(state))
"""


def test_tasks_are_equal_in_two_processes():
    def shown(hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SHOW_TASKS],
            env={"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1", "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    first, again = shown("1"), shown("2")
    assert first == again and first.count("Task(") > 40


def test_the_price_seed_changes_prices_and_limits_but_not_the_order_of_products():
    base, other = WebShop(products=150), WebShop(products=150, price_seed=8)
    ours, theirs = base.shop, other.shop
    assert ours.catalogue is theirs.catalogue and ours.index is theirs.index  # loaded once
    assert ours.prices != theirs.prices
    assert [goal.asin for goal in ours.goals] == [goal.asin for goal in theirs.goals]
    assert [goal.options for goal in ours.goals] == [goal.options for goal in theirs.goals]
    again = WebShop(products=150).shop
    assert (again.prices, again.goals) == (ours.prices, ours.goals)


# Steps


def test_an_invalid_action_leaves_the_state_as_it_was_and_costs_nothing():
    state = SMALL.first_state(SHIRT_TASK)
    for action in ("", "search[]", "click[Buy Now]", "think[so]", "click[Search]", "hello"):
        assert after(SMALL, state, action) == Step(state, valid=False)


def test_only_a_purchase_pays():
    state = SMALL.first_state(SHIRT_TASK)
    for action in RIGHT[:-1]:
        step = after(SMALL, state, action)
        assert (step.reward, step.terminated, step.truncated, step.valid) == (
            0.0,
            False,
            False,
            True,
        )
        state = step.state
    bought = after(SMALL, state, RIGHT[-1])
    assert (bought.reward, bought.terminated, bought.truncated) == (1.0, True, False)
    for action in ("click[Buy Now]", "search[shirt]", "nothing"):
        assert after(SMALL, bought.state, action) == Step(
            bought.state, terminated=True, valid=False
        )


@pytest.mark.parametrize(
    ("options", "paid"),
    [((), 3 / 5), (("red",), 4 / 5), (("small", "red"), 4 / 5), (("red", "large"), 1.0)],
)
def test_a_purchase_pays_its_share_of_attributes_options_and_price(options, paid):
    clicks = [f"click[{option}]" for option in options]
    start = SMALL.first_state(SHIRT_TASK)
    bought = after(SMALL, start, *RIGHT[:2], *clicks, "click[Buy Now]")
    assert bought.reward == pytest.approx(paid)


def test_a_price_above_the_limit_costs_its_share():
    bought = after(SMALL, SMALL.first_state(CHEAP_TASK), "search[tea]", "click[B00TEA0005]")
    assert after(SMALL, bought.state, "click[Buy Now]").reward == pytest.approx(1 / 2)


def test_an_episode_is_cut_after_max_steps():
    env = SmallWebShop(max_steps=3)
    state = env.first_state(SHIRT_TASK)
    step = after(env, state, "search[shirt]", "not an action", "click[Next >]")
    assert not step.truncated and step.state.steps == 2
    cut = after(env, step.state, "click[Back to Search]")
    assert (cut.truncated, cut.terminated, cut.valid, cut.state.steps) == (True, False, True, 3)
    assert after(env, cut.state, "search[shirt]") == Step(cut.state, truncated=True, valid=False)
    bought = after(env, state, "search[shirt]", "click[B00SHIRT01]", "click[Buy Now]")
    assert (bought.terminated, bought.truncated, bought.reward > 0) == (True, False, True)


def test_legal_actions_are_the_clicks_and_open_on_the_index_page():
    state = SMALL.first_state(SHIRT_TASK)
    assert SMALL.legal_actions(state) is None
    found = after(SMALL, state, "search[shirt]").state
    assert SMALL.legal_actions(found) == (
        "click[Back to Search]",
        "click[Next >]",
        "click[B00SHIRT01]",
        "click[B00SHIRT02]",
    )
    bought = after(SMALL, state, *RIGHT).state
    assert SMALL.legal_actions(bought) == ()


# Keys


def test_a_key_leaves_out_steps_looks_and_the_order_of_choices():
    start = SMALL.first_state(SHIRT_TASK)
    one = after(SMALL, start, "search[shirt]", "click[B00SHIRT01]", "click[red]", "click[large]")
    other = after(
        SMALL,
        start,
        "search[mug]",
        "click[B00MUG0004]",
        "click[Reviews]",
        "search[shirt]",
        "click[Next >]",
        "click[< Prev]",
        "click[B00SHIRT01]",
        "click[large]",
        "click[black]",
        "click[red]",
    )
    assert one.state != other.state and SMALL.key(one.state) == SMALL.key(other.state)
    assert after(SMALL, one.state, "click[Features]", "click[< Prev]").state.steps == 6
    assert SMALL.key(
        after(SMALL, one.state, "click[Features]", "click[< Prev]").state
    ) == SMALL.key(one.state)


def test_a_key_tells_apart_whatever_can_lead_elsewhere():
    start = SMALL.first_state(SHIRT_TASK)
    item = after(SMALL, start, "search[shirt]", "click[B00SHIRT01]").state
    lamp = after(SMALL, start, "search[lamp]", "click[B00LAMP003]").state
    different = [
        start,
        SMALL.first_state(MUG_TASK),
        after(SMALL, start, "search[shirt]").state,
        after(SMALL, start, "search[shirts]").state,
        after(SMALL, start, "search[shirt]", "click[Next >]").state,
        item,
        after(SMALL, start, "search[cotton]", "click[B00SHIRT01]").state,
        after(SMALL, item, "click[red]").state,
        after(SMALL, item, "click[black]").state,
        after(SMALL, item, "click[Description]").state,
        after(SMALL, item, "click[Features]").state,
        after(SMALL, item, "click[Buy Now]").state,
        after(SMALL, lamp, "click[white]").state,
        lamp,
    ]
    assert len({SMALL.key(state) for state in different}) == len(different)


def test_equal_keys_pay_alike_whatever_is_done_next():
    """Every state within three clicks of a search, and every two clicks from there."""
    env = SmallWebShop(max_steps=1000)
    merged: dict[object, list[State]] = defaultdict(list)
    for task, words in ((LAMP_TASK, "lamp"), (SHIRT_TASK, "shirt")):
        level = {after(env, env.first_state(task), f"search[{words}]").state}
        for _ in range(4):
            for state in level:
                merged[env.key(state)].append(state)
            level = {
                env.take(state, action).state
                for state in level
                for action in env.legal_actions(state) or ()
            }
    groups = [states for states in merged.values() if len(states) > 1]
    assert len(groups) > 20

    def future(state: State, depth: int) -> object:
        if depth == 0:
            return ()
        steps = {a: env.take(state, a) for a in env.legal_actions(state) or ("search[shirt lamp]",)}
        return {a: (t.reward, t.terminated, future(t.state, depth - 1)) for a, t in steps.items()}

    for first, *others in groups:
        expected = future(first, 2)
        assert all(future(other, 2) == expected for other in others[:4])


# Answers and verdicts


def test_the_answer_is_what_was_bought_in_no_order_of_clicks():
    start = SMALL.first_state(SHIRT_TASK)
    assert SMALL.answer(start) == SMALL.answer(after(SMALL, start, *RIGHT[:-1]).state) == ""
    answers = {
        SMALL.answer(after(SMALL, start, *RIGHT[:2], *clicks, RIGHT[-1]).state)
        for clicks in itertools.permutations(("click[red]", "click[large]"))
    }
    assert answers == {'B00SHIRT01 {"color": "red", "size": "large"}'}


def test_the_verifier_buys_again_and_names_parts_and_tagger():
    verdict = judge(SMALL, SHIRT_TASK, *RIGHT)
    assert (verdict.correct, verdict.credit) == (True, 1.0)
    assert verdict.reason.startswith("as asked: bought B00SHIRT01, r_type 1, r_att 1, ")
    assert verdict.reason.endswith("; nouns by lexicon")
    partly = judge(SMALL, SHIRT_TASK, *RIGHT[:2], RIGHT[-1])
    assert not partly.correct and partly.credit == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("task", "actions", "kind"),
    [
        (SHIRT_TASK, ("search[mug]", "click[B00MUG0004]"), "wrong type of product"),
        (SHIRT_TASK, ("search[shirt]", "click[B00SHIRT02]"), "attributes not met"),
        (CHEAP_TASK, ("search[tea]", "click[B00TEA0005]"), "price too high"),
        (SHIRT_TASK, (*RIGHT[:3], "click[black]"), "options not met"),
        (SHIRT_TASK, RIGHT[:2], "options not met"),
    ],
)
def test_a_verdict_begins_with_the_first_thing_that_is_wrong(task, actions, kind):
    verdict = judge(SMALL, task, *actions, "click[Buy Now]")
    asin = actions[1].removeprefix("click[").removesuffix("]")
    assert not verdict.correct and verdict.reason.startswith(f"{kind}: bought {asin}, r_type ")


def test_what_the_product_is_counts_before_its_options():
    perfect = SMALL.shop.reward(after(SMALL, SMALL.first_state(SHIRT_TASK), *RIGHT).state)
    assert environment.shortcoming(perfect) == "as asked"
    assert environment.shortcoming(replace(perfect, r_option=None, w_option=None)) == "as asked"
    worse = perfect
    for part, value, kind in (
        ("r_option", 0.5, "options not met"),
        ("r_price", False, "price too high"),
        ("r_att", 0.5, "attributes not met"),
        ("r_type", 0.5, "wrong type of product"),
    ):
        worse = replace(worse, **{part: value})
        assert environment.shortcoming(worse) == kind


def test_the_verifier_reads_actions_and_nothing_else():
    assert judge(SMALL, SHIRT_TASK, "hm", *RIGHT, "click[Buy Now]", "search[x]").correct
    assert judge(SMALL, SHIRT_TASK) == Verdict(False, 0.0, "nothing bought in 0 steps")
    late = ["click[Next >]"] * 12
    assert judge(SMALL, SHIRT_TASK, RIGHT[0], *late, *RIGHT).reason == "nothing bought in 15 steps"
    odd = judge(SMALL, ODD_TASK, "search[odd]", "click[B00ODD0006]", "click[l]]", "click[buy now]")
    assert odd.correct


def test_a_task_of_another_place_in_the_order_is_another_goal():
    other = replace(SHIRT_TASK, data={**SHIRT_TASK.data, "goal": 1})
    assert judge(SMALL, other, *RIGHT).credit < 1.0


# The oracle


@pytest.mark.parametrize("task", [SHIRT_TASK, LAMP_TASK, MUG_TASK, TEA_TASK, ODD_TASK])
def test_the_oracle_reaches_1_from_wherever_one_has_gone(task: Task):
    oracle, rng = SMALL.oracle(), random.Random(task.id)
    env = SmallWebShop(max_steps=40)
    for _ in range(12):
        state = env.first_state(task)
        for _ in range(rng.randrange(9)):
            legal = env.legal_actions(state)
            action = rng.choice([a for a in legal if "Buy" not in a] if legal else RIGHT[:1])
            state = env.take(state, action).state
        path, now = [], state
        while (action := oracle.action(now)) is not None and len(path) < 20:
            step = env.take(now, action)
            assert step.valid, action
            path.append(action)
            now = step.state
        assert step.reward == 1.0 == env.oracle().value(state), path


def test_the_oracle_pays_its_best_where_1_is_out_of_reach():
    assert SMALL.oracle().value(SMALL.first_state(CHEAP_TASK)) == pytest.approx(1 / 2)


def test_the_oracle_knows_how_many_steps_are_left():
    for steps in (3, 4, 5):
        env = SmallWebShop(max_steps=steps)
        start = env.first_state(SHIRT_TASK)
        assert env.oracle().value(start) == (1.0 if steps >= 5 else 0.0)
    bought = after(SMALL, SMALL.first_state(SHIRT_TASK), *RIGHT).state
    assert SMALL.oracle().action(bought) is None and SMALL.oracle().value(bought) == 0.0


def test_the_oracle_goes_back_from_the_wrong_product():
    wrong = after(SMALL, SMALL.first_state(SHIRT_TASK), "search[mug]", "click[B00MUG0004]").state
    assert SMALL.oracle().action(wrong) == "click[< Prev]"
    far = after(SMALL, SMALL.first_state(SHIRT_TASK), "search[mug]", "click[Next >]").state
    assert SMALL.oracle().action(far) == "click[Back to Search]"
    before = after(SMALL, SMALL.first_state(SHIRT_TASK), "search[plate number shirt]").state
    assert SHIRT in before.hits[10:] and SMALL.oracle().action(before) == "click[Next >]"


def test_the_oracle_solves_all_but_what_colours_spoil(generated: WebShop):
    oracle = generated.oracle()
    worth = [oracle.value(generated.first_state(task)) for task in generated.tasks("dev")[:100]]
    assert sum(value == 1.0 for value in worth) >= 99


# Policies without a model


@pytest.mark.parametrize("mode", ["brief", "text", "text_rich", "react"])
def test_the_rules_search_open_choose_and_buy(mode):
    env = SmallWebShop(observation=mode)
    plain = ["search[find me a cotton shirt with color: red, and size: large, and price lower "]
    plain[0] += "than 30.00 dollars]"
    plain += ["click[B00SHIRT01]", "click[Buy Now]"]
    choosing = [*plain[:2], "click[red]", "click[large]", plain[2]]
    assert played(env, SHIRT_TASK, "plain") == plain
    assert played(env, SHIRT_TASK, "options") == choosing
    assert played(env, MUG_TASK, "options")[1:] == ["click[B00MUG0004]", "click[Buy Now]"]


def played(env: WebShop, task: Task, name: str) -> list[str]:
    """A rule's actions until the purchase."""
    actions: list[str] = []
    while not actions or actions[-1] != "click[Buy Now]":
        assert len(actions) < 15
        actions.append(env.rules()[name](context(env, task, *actions), random.Random(0)))
    return actions


@pytest.mark.parametrize("mode", ["brief", "text", "text_rich", "react"])
def test_a_rule_always_has_a_legal_action(mode):
    """Also where a random walk over hostile pages left it."""
    env = SmallWebShop(observation=mode, max_steps=60, show_attributes=True)
    rng = random.Random(mode)
    for task in env.tasks("test"):
        state, turns = env.first_state(task), tuple[Turn, ...]()
        for _ in range(25):
            legal = env.legal_actions(state)
            seen = Context(task.prompt, env.observe(state), turns, legal)
            for rule in env.rules().values():
                action = rule(seen, random.Random(0))
                assert action == rule(seen, random.Random(1))
                assert env.take(state, action).valid, (action, state)
            goes_on = [each for each in legal or () if each != "click[Buy Now]"]
            action = rng.choice(goes_on) if goes_on else "search[odd shirt lamp]"
            turns = (*turns, Turn(seen.observation, action))
            state = env.take(state, action).state


def test_policies_rule_and_random_play_it():
    assert SMALL.rule(context(SMALL, SHIRT_TASK, *RIGHT[:2]), random.Random(0)) == "click[red]"
    start, item = context(SMALL, ODD_TASK), context(SMALL, SHIRT_TASK, *RIGHT[:2])
    for policy in (Random(SMALL), Rule(SMALL), Rule(SMALL, "plain")):
        for seen in (start, item):
            [proposal] = asyncio.run(policy.propose(seen, 1, seed=3))
            assert proposal.action is not None
            if seen.legal_actions is not None:
                assert proposal.action in seen.legal_actions
            else:
                assert s.parse(proposal.action) is not None
    assert SMALL.suggestions(context(SMALL, MUG_TASK)) == ("search[a blue mug]",)
    with pytest.raises(ConfigError, match="policy.variant='best'"):
        Rule(SMALL, "best")


# What a policy may read


@pytest.mark.parametrize("mode", pages.MODES)
def test_nothing_a_policy_reads_tells_the_score_or_the_hidden_attributes(mode):
    env = SmallWebShop(observation=mode)
    for task in (SHIRT_TASK, LAMP_TASK, CHEAP_TASK):
        rng, state = random.Random(f"{mode}{task.id}"), env.first_state(task)
        while not env.over(state):
            action = rng.choice(env.legal_actions(state) or ["search[shirt]", "search[lamp tea]"])
            step = env.take(state, action)
            state = step.state
            read = f"{task.prompt}\n{env.observe(state)}\n{env.legal_actions(state)}".lower()
            for told in ("score", "reward", "machine wash", "bright light", "dummy", "r_type"):
                assert told not in read


def test_places_of_the_small_shop_are_as_named():
    assert [SMALL.shop.catalogue.products[i].asin for i in (SHIRT, LAMP, TEA, ODD)] == [
        "B00SHIRT01",
        "B00LAMP003",
        "B00TEA0005",
        "B00ODD0006",
    ]
    assert environment.instruction(SHIRT_TASK.prompt).startswith("find me a cotton shirt")
