"""Choosers without a model, and how a problem asks one."""

import asyncio
from collections import Counter
from contextlib import closing

import pytest

from agentsearch.budget import Limits, Metered
from agentsearch.choosers.plain import RandomChooser, ScriptedChooser
from agentsearch.choosers.prompted import PromptedChooser
from agentsearch.config import load_recipe
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import BudgetExhausted, ConfigError, ModelError
from agentsearch.journal import Attempt, Journal
from agentsearch.problem import Problem
from agentsearch.runner import Setup
from agentsearch.search.agent_q import AgentQ
from agentsearch.types import Context
from tests.toy import Letters, a_problem, every_letter, guess

LAST = ScriptedChooser(lambda context, options: len(options) - 1)


def chosen(problem, options="abc", **fields):
    return asyncio.run(problem.choose(problem.root, list(options), **fields))


def test_chance_favours_nothing_and_depends_on_the_seed_alone():
    def draw(seed):
        work = RandomChooser().choose(Context("", ""), "abcd", seed=seed)
        return asyncio.run(work)

    draws = Counter(draw(seed) for seed in range(400))
    assert set(draws) == {0, 1, 2, 3} and min(draws.values()) > 70
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]


def test_a_scripted_choice_sees_context_and_options():
    seen = []
    script = ScriptedChooser(lambda context, options: seen.append((context, options)) or 1)
    assert chosen(a_problem(chooser=script)) == 1
    [(context, options)] = seen
    assert (context.prompt, options) == ("Spell the word.", ["a", "b", "c"])


@pytest.mark.parametrize(("chooser", "calls"), [(LAST, 1), (RandomChooser(), 0)])
def test_a_choice_without_an_engine_is_a_call_unless_it_is_free(chooser, calls):
    problem = a_problem(chooser=chooser)
    chosen(problem)
    assert problem.budget.usage.calls == problem.root.cost.calls == calls
    assert problem.budget.reserved_calls == 0


def test_a_choice_by_a_model_is_paid_through_its_engine():
    chooser = PromptedChooser(Metered(ScriptedEngine(lambda request, i: "what?")))
    problem = a_problem(chooser=chooser)
    chosen(problem)
    usage = problem.budget.usage
    assert (usage.calls, usage.judgments, usage.fallbacks) == (1, 1, 1)
    assert problem.root.cost.fallbacks == 1


def test_each_draw_has_a_seed_of_its_own():
    choices = {chosen(a_problem(chooser=RandomChooser()), "abcdefgh", draw=i) for i in range(20)}
    assert len(choices) > 4
    same = [chosen(a_problem(chooser=RandomChooser()), "abcdefgh", draw=3) for _ in range(5)]
    assert len(set(same)) == 1


def test_a_choice_that_is_not_affordable_is_not_made():
    problem = a_problem(chooser=LAST, calls=1)
    problem.budget.free_reserve()
    chosen(problem)
    with pytest.raises(BudgetExhausted):
        chosen(problem)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_choice_of_nothing_is_the_chooser_s_failure(index):
    problem = a_problem(chooser=ScriptedChooser(lambda context, options: index))
    with pytest.raises(ModelError, match=f"said {index}, which is no index of"):
        chosen(problem)


@pytest.mark.parametrize("metered", [False, True])
def test_a_recorded_choice_is_not_made_again(tmp_path, metered):
    asked = []
    engine = ScriptedEngine(lambda request, i: asked.append(request) or "2")
    script = ScriptedChooser(lambda context, options: asked.append(options) or 1)
    chooser = PromptedChooser(Metered(engine)) if metered else script
    spent = []
    for _ in range(2):
        with closing(Journal(tmp_path / "j")) as journal:
            env, attempt = Letters(), Attempt("t", journal)
            task = env.tasks("train")[0]
            budget = a_problem(calls=10).budget
            problem = Problem(
                task,
                env,
                every_letter(),
                guess(),
                state="",
                budget=budget,
                attempt=attempt,
                chooser=chooser,
            )

            async def work(problem=problem):
                return [await problem.choose(problem.root, "abc", draw=i) for i in range(3)]

            assert asyncio.run(work()) == [1, 1, 1]
            assert len(journal) == 3
            spent.append(budget.usage)
    assert len(asked) == 3 and spent[0] == spent[1] and spent[0].calls == 3


def test_a_problem_without_a_chooser_says_so():
    problem = a_problem()
    problem._chooser = None
    with pytest.raises(ConfigError, match="asks a chooser, and the problem was given none"):
        chosen(problem)


def test_a_search_that_ranks_is_refused_without_a_chooser():
    with pytest.raises(ConfigError, match="AgentQ ranks actions by a chooser.*chooser=prompted"):
        Setup(
            env=Letters(),
            policy=every_letter(),
            value=guess(),
            search=AgentQ(),
            limits=Limits(calls=5),
        )


def test_a_recipe_names_its_chooser():
    recipe = load_recipe({"policy": "random"}, ["chooser=prompted", "chooser.max_tokens=4"])
    assert recipe.chooser == {"name": "prompted", "max_tokens": 4}
    assert load_recipe(recipe.to_dict()) == recipe
    assert load_recipe({"chooser": None}).chooser is None
    assert "chooser" not in load_recipe({}).components
    with pytest.raises(ConfigError, match="^chooser.max_token: unknown key. Did you mean 'max_t"):
        load_recipe({"chooser": {"name": "prompted", "max_token": 3}})
