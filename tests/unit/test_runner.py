"""Many tasks: plan and act, failures kept apart, verdicts, and the run folder."""

import asyncio
import json
from dataclasses import dataclass, field, replace

import networkx
import pytest
import yaml
from scipy.stats import binomtest

from agentsearch.budget import Limits, Metered
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError, DataError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.scripted import Random, Scripted
from agentsearch.runner import Result, RunFolder, Setup, run, solve, summarise, tree_name, wilson
from agentsearch.search.beam import Beam
from agentsearch.search.best_first import BestFirst
from agentsearch.search.greedy import Greedy
from agentsearch.search.mcts import MCTS
from agentsearch.tree import Tree
from agentsearch.types import Step
from agentsearch.values.plain import Rollout, ScriptedValue, Uniform
from tests.toy import Letters, Sampler, Speller, a_problem, every_letter, grow, guess


def a_setup(**fields):
    env = fields.get("env", Letters())
    standard = {
        "env": env,
        "policy": every_letter(),
        "value": guess(env.word),
        "search": BestFirst(width=3),
        "limits": Limits(calls=100),
        "reward_visible": True,
    }
    return Setup(**{**standard, **fields})


def solved(**fields):
    setup = a_setup(**fields)
    return asyncio.run(solve(setup.env.tasks("train")[0], setup))


# -- plan ------------------------------------------------------------------------------


def test_the_chosen_path_is_carried_out_and_verified():
    result = solved()
    assert (result.status, result.correct, result.credit) == ("ok", True, 1.0)
    assert (result.actions, result.answer, result.score) == (["c", "a", "b"], "cab", 1.0)
    assert (result.reason, result.decisions, result.mismatches) == ("spelt 'cab'", 1, 0)
    assert result.any_correct and result.nodes == len(result.tree)


def test_a_search_that_has_seen_no_ending_leaves_enough_to_reach_one():
    """Left to itself this beam spends all 24 calls on two levels of three."""
    wide = Beam(beam_width=9, width=3)
    alone = grow(wide, a_problem(value=guess("cab"), calls=24))
    assert not any(node.terminated for node in alone.tree.nodes)
    result = solved(search=wide, reward_visible=False, limits=Limits(calls=24))
    assert len(result.actions) == 3 and result.tree.nodes[-1].terminated
    assert (result.stop, result.usage.calls) == ("budget:calls", 23)


def test_a_failed_task_is_never_correct():
    class Mute(Letters):
        def answer(self, state):
            if state == "cab":
                raise RuntimeError("no words")
            return state

    result = solved(env=Mute(), search=Greedy(), policy=Scripted({"": "c", "c": "a", "ca": "b"}))
    assert result.status == "failed"
    assert (result.correct, result.credit) == (False, 0.0)
    assert summarise([result])["correct"] == 0


def test_a_leaf_that_cannot_be_judged_fails_no_task():
    class Picky:
        async def verify(self, task, trajectory, state):
            if state != "cab":
                raise RuntimeError("what is this?")
            return await Speller("cab").verify(task, trajectory, state)

    class Judged(Letters):
        verifier = Picky()

    result = solved(env=Judged(), search=Beam(beam_width=3, width=3))
    assert (result.status, result.correct) == ("ok", True)
    assert list(result.tree.meta["credit_after_search"].values()) == [1.0]


def test_an_engine_is_metered_by_the_setup_itself():
    bare = Prompted(ScriptedEngine(lambda request, i: "cab"[i % 3]))
    setup = a_setup(policy=bare, value=Uniform(), limits=Limits(calls=7))
    assert isinstance(setup.policy.engine, Metered)
    assert solved(policy=bare, value=Uniform(), limits=Limits(calls=7)).usage.calls == 7


def test_a_rule_that_does_not_exist_is_refused_before_the_search():
    with pytest.raises(ConfigError, match="best_valu.*Did you mean 'best_value'"):
        a_setup(search=MCTS(choose="best_valu"))


def test_an_error_in_the_run_outranks_one_in_closing(tmp_path):
    folder = RunFolder(tmp_path / "run", {})
    folder.path.joinpath("summary.json.partial").mkdir()
    with pytest.raises(ConfigError, match="first"), folder.closing(dict):
        raise ConfigError("first")
    other = RunFolder(tmp_path / "other", {})
    with other.closing(lambda: {"tasks": 0}):
        pass
    assert json.loads((tmp_path / "other" / "summary.json").read_text()) == {"tasks": 0}


def test_a_full_disk_is_one_sentence(tmp_path):
    folder = RunFolder(tmp_path / "run", {})
    folder.path.joinpath("summary.json.partial").mkdir()  # the write fails, as on a full disk
    with pytest.raises(DataError, match="summary cannot be written"):
        folder.close({})
    assert not (folder.path / "summary.json").exists()


def test_a_wrong_answer_gets_the_verifiers_credit():
    result = solved(value=guess("cac"), reward_visible=False, policy=Scripted(lambda c, n: "acb"))
    assert (result.correct, result.actions) == (False, ["c", "a", "a"])
    assert result.credit == pytest.approx(2 / 3) and result.score == 0.0
    assert result.any_correct  # the tree held the word, hidden reward or not


def test_the_greedy_policy_finishes_what_the_search_left_open():
    # the search affords 2 * (3 + 3) calls, and the rest of the budget the last letter
    greedy = Sampler({"a": 1.0, "b": 2.0})
    result = solved(search=Beam(width=3, depth=2), policy=greedy, value=guess("bb"))
    assert len(result.actions) == 3 and result.actions[-1] == "b"
    assert result.decisions == 1 and result.stop == "finished"


def test_finishing_spends_the_same_budget():
    for calls in range(1, 12):
        result = solved(search=BestFirst(width=1), policy=Sampler(), limits=Limits(calls=calls))
        assert result.usage.calls <= calls
    out_of_calls = solved(search=Greedy(), limits=Limits(calls=2))
    assert out_of_calls.stop == "budget:calls" and out_of_calls.usage.calls == 2
    assert (len(out_of_calls.actions), out_of_calls.correct) == (2, False)


def test_usage_counts_search_finishing_and_the_real_episode():
    result = solved(search=BestFirst(width=3, depth=1), policy=every_letter())
    # expand the root: 3 calls and steps; value 3; the greedy policy: 2 calls and steps
    assert result.usage.calls == 3 + 3 + 2
    assert result.usage.env_steps == 3 + 2 + 3
    assert result.usage.seconds > 0


def test_an_episode_no_longer_than_its_limit():
    @dataclass(frozen=True)
    class Endless(Letters):
        async def step(self, state, action):
            return Step(state + action)

    for mode in ("plan", "act"):
        result = solved(
            env=Endless(), policy=Random(), value=Uniform(), search=BestFirst(depth=1), mode=mode
        )
        assert len(result.actions) == 3
    assert (result.stop, result.decisions) == ("max_steps", 3)


def test_the_searchs_own_word_for_why_it_ended():
    paper = BestFirst(width=3, order="paper", threshold=0.3, pops=5, samples=6)
    assert solved(search=paper).stop == "threshold"
    assert solved(search=replace(paper, threshold=2.0)).stop == "budget:pops"
    assert solved().stop == "finished"
    # the root's 6 samples, then values of a, b and c: the last call reaches the threshold
    flat = replace(paper, depth=1)
    assert solved(search=flat, limits=Limits(calls=9)).stop == "threshold"
    assert solved(search=MCTS(), limits=Limits(calls=9)).stop == "budget:calls"
    assert solved(search=MCTS(), limits=Limits(env_steps=9)).stop == "budget:env_steps"
    assert solved(search=MCTS(), limits=Limits(iterations=9)).stop == "budget:iterations"
    # three levels of one beam: the fourth round finds nothing to do, with or without a fifth
    assert solved(search=Beam(), limits=Limits(iterations=4)).stop == "finished"
    assert solved(search=Beam(), limits=Limits(iterations=3)).stop == "budget:iterations"


# -- act -------------------------------------------------------------------------------


def test_each_decision_has_a_budget_of_its_own():
    result = solved(mode="act", search=BestFirst(width=3), limits=Limits(calls=7))
    assert result.correct and result.decisions == 3
    assert 7 < result.usage.calls <= 3 * 7


def test_the_subtree_of_what_was_done_is_kept():
    result = solved(mode="act", search=MCTS(width=3), limits=Limits(calls=1000, iterations=300))
    assert result.decisions == 3 and result.correct
    # 300 simulations reach all 27 words; later decisions ask nothing again
    assert result.nodes == 1 + 3 + 9 + 27
    assert result.usage.calls <= 13 * 4
    committed = result.tree.meta["committed"]
    assert [result.tree.nodes[i].state for i in committed] == ["c", "ca", "cab"]


@pytest.mark.parametrize(("commit", "decisions"), [(1, 3), (2, 2), (3, 1), (9, 1)])
def test_k_actions_are_carried_out_per_decision(commit, decisions):
    result = solved(mode="act", commit=commit)
    assert (result.decisions, result.correct) == (decisions, True)


def test_where_search_finds_nothing_the_greedy_policy_decides():
    @dataclass(frozen=True)
    class Idle:
        async def search(self, problem):
            pass

    result = solved(mode="act", search=Idle(), policy=Sampler({"a": 1.0, "c": 3.0}))
    assert (result.actions, result.decisions) == (["c", "c", "c"], 3)


def test_each_decision_has_its_own_word_for_why_it_ended():
    @dataclass(frozen=True)
    class Talkative:
        async def search(self, problem):
            if problem.root is problem.tree.root:
                problem.tree.meta["stop"] = "enough"

    assert solved(search=Talkative()).stop == "enough"
    acted = solved(mode="act", search=Talkative())
    assert [each["stop"] for each in acted.tree.meta["decisions"]] == [
        "enough",
        "finished",
        "finished",
    ]
    assert [each["calls"] for each in acted.tree.meta["decisions"]] == [1, 1, 1]


def test_without_any_action_the_episode_ends():
    result = solved(mode="act", policy=Scripted({}))
    assert (result.stop, result.actions, result.correct) == ("no action", [], False)
    assert (result.status, result.reason) == ("ok", "spelt ''")


# -- failures --------------------------------------------------------------------------


def failing_engine(request, i):
    if "task 3" in request.messages[0].content:
        raise ConnectionError("the server is gone")
    return "abc"[i % 3]


@dataclass(frozen=True)
class Numbered(Letters):
    """Tasks that say their number, so that an engine can fail one of them."""

    def tasks(self, split):
        return [replace(task, prompt=f"task {i}") for i, task in enumerate(super().tasks(split))]


def test_a_failed_task_is_recorded_and_its_siblings_go_on():
    policy = Prompted(Metered(ScriptedEngine(failing_engine)))
    setup = a_setup(env=Numbered(), policy=policy)
    events = []
    results = asyncio.run(
        run(setup, setup.env.tasks("train"), on_event=lambda *e: events.append(e[:2]))
    )
    assert [r.status for r in results] == ["ok", "ok", "ok", "failed", "ok"]
    assert results[3].error == "EngineError: generate: ConnectionError: the server is gone"
    assert not results[3].correct and results[3].tree is not None
    assert [r.correct for r in results] == [True, True, True, False, True]
    kinds = [kind for kind, task in events if task.id == "letters/train/3"]
    assert kinds == ["started", "failed"]
    assert summarise(results)["failed"] == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"env": Letters(broken="ca")}, "EnvError: step: RuntimeError: no way past ca"),
        ({"policy": Scripted(lambda context, n: 1 / 0)}, "PolicyError: propose: ZeroDivision"),
        ({"value": ScriptedValue(lambda context: 1 / 0)}, "ModelError: value: ZeroDivision"),
    ],
)
@pytest.mark.parametrize("mode", ["plan", "act"])
def test_a_failure_says_which_part_and_why(fields, error, mode):
    result = solved(mode=mode, **fields)
    assert result.status == "failed" and result.error.startswith(error)
    assert result.summary().startswith("letters/train/0: failed (")


@pytest.mark.parametrize("method", ["reset", "observe", "key", "answer", "verifier"])
def test_whatever_an_environment_raises_is_its_own_failure(method):
    def broken(self, *args, **kwargs):
        raise OSError("gone")

    def broken_late(self, state):
        return state if len(state) < 3 else broken(self)

    body = broken_late if method in ("observe", "key", "answer") else broken
    env = type("Broken", (Letters,), {method: property(body) if method == "verifier" else body})()
    result = solved(env=env)
    assert result.status == "failed" and result.error.startswith("EnvError: ")
    assert result.error.endswith("OSError: gone")


def test_what_a_failed_task_spent_is_counted():
    answers = iter("cab")
    policy = Scripted(lambda context, n: next(answers) if context.observation != "ca" else 1 / 0)
    result = solved(search=BestFirst(width=1, depth=1), policy=policy)
    assert result.status == "failed"
    assert result.usage.calls == 1 + 1 + 1  # propose, value, and one greedy step


def test_a_programming_error_in_an_algorithm_is_a_crash():
    @dataclass(frozen=True)
    class Wrong:
        async def search(self, problem):
            raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        solved(search=Wrong())
    setup = a_setup(search=Wrong())
    with pytest.raises(ExceptionGroup) as crash:
        asyncio.run(run(setup, setup.env.tasks("train")))
    assert crash.group_contains(IndexError)


def test_an_environment_that_answers_otherwise_the_second_time_is_found_out():
    @dataclass(frozen=True)
    class Cheating(Letters):
        seen: set = field(default_factory=set)

        async def step(self, state, action):
            step = await super().step(state, action)
            if (state, action) in self.seen and state == "c":
                return replace(step, state=state + "c")
            self.seen.add((state, action))
            return step

    result = solved(env=Cheating())
    assert result.mismatches == 2  # "cc" for "ca", and what follows it
    assert summarise([result])["mismatches"] == 2
    assert solved().mismatches == 0


def test_a_real_episode_that_ends_early_is_not_acted_upon():
    @dataclass(frozen=True)
    class Impatient(Letters):
        seen: set = field(default_factory=set)

        async def step(self, state, action):
            step = await super().step(state, action)
            again = (state, action) in self.seen
            self.seen.add((state, action))
            return replace(step, terminated=True) if again and state == "c" else step

    result = solved(env=Impatient())
    assert (result.actions, result.mismatches) == (["c", "a"], 1)


# -- settings --------------------------------------------------------------------------


def test_rollouts_need_a_reward_they_can_see():
    with pytest.raises(ConfigError, match="Rollout needs the reward, which is hidden"):
        a_setup(value=Rollout(), reward_visible=False)
    assert solved(value=Rollout(n=2), search=MCTS(width=3), limits=Limits(calls=500)).correct


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="commit=0: must be at least 1"):
        a_setup(commit=0)
    setup = a_setup()
    with pytest.raises(ConfigError, match="concurrency=0: must be at least 1"):
        asyncio.run(run(setup, [], concurrency=0))


class Wooden(Letters):
    @property
    def spec(self):
        return replace(super().spec, about="made of wood")


def test_the_setting_says_what_search_saw():
    assert a_setup().setting == "plan, reward visible (retries allowed), can go back"
    hidden = a_setup(reward_visible=False, mode="act")
    assert hidden.setting == "act, reward hidden, can go back"
    named = replace(hidden, env=Wooden())
    assert named.setting == "act, reward hidden, can go back, made of wood"


def test_no_more_tasks_at_a_time_than_allowed():
    running, most = set(), 0
    setup = a_setup(env=Letters(instant=False))

    def watch(kind, task, result):
        nonlocal most
        (running.add if kind == "started" else running.remove)(task.id)
        most = max(most, len(running))

    asyncio.run(run(setup, setup.env.tasks("train"), concurrency=2, on_event=watch))
    assert most == 2 and not running


def test_the_seed_of_the_run_decides():
    def tree(seed):
        return solved(policy=Sampler(), search=MCTS(), seed=seed).tree.to_json()

    assert tree(3) == tree(3) != tree(4)


def test_a_task_grows_the_same_tree_alone_and_in_the_crowd():
    setup = a_setup(env=Letters(instant=False), policy=Sampler(), search=MCTS(parallel=2))
    tasks = setup.env.tasks("train")
    crowd = asyncio.run(run(setup, tasks))
    alone = asyncio.run(solve(tasks[2], setup))
    assert crowd[2].tree.to_json() == alone.tree.to_json()
    assert crowd[2].tree.to_json() != crowd[1].tree.to_json()
    assert [result.task_id for result in crowd] == [task.id for task in tasks]


# -- the run folder --------------------------------------------------------------------


def written(folder):
    setup = a_setup(policy=Sampler(), search=MCTS(width=3), limits=Limits(calls=20))
    target = RunFolder(folder, {"search": {"name": "mcts"}, "seed": 0})
    results = asyncio.run(run(setup, setup.env.tasks("train"), target))
    target.close(summarise(results, setup.setting))
    return results


def test_the_folder_holds_recipe_results_trees_and_summary(tmp_path):
    results = written(tmp_path / "run")
    names = sorted(p.relative_to(tmp_path / "run").as_posix() for p in tmp_path.rglob("*.*"))
    trees = [f"trees/letters+train+{i}.json.gz" for i in range(5)]
    assert names == ["config.yaml", "journal.sqlite", "results.jsonl", "summary.json", *trees]
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config == {"search": {"name": "mcts"}, "seed": 0}
    text = (tmp_path / "run/results.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert sorted(line["task_id"] for line in lines) == [result.task_id for result in results]
    for line in lines:
        [result] = [r for r in results if r.task_id == line["task_id"]]
        assert line == json.loads(json.dumps(result.to_dict()))
        assert line["usage"]["calls"] <= 20 and line["usage"]["tokens"] == 0
    assert all(result.tree is None for result in results)


def test_the_trees_load_as_graphs(tmp_path):
    for result in written(tmp_path / "run"):
        tree = Tree.load(tmp_path / "run/trees" / tree_name(result.task_id))
        graph = tree.to_networkx()
        assert networkx.is_arborescence(graph) and len(graph) == result.nodes
        assert tree.meta["committed"] and set(tree.meta["credit_after_search"].values()) <= {
            i / 3 for i in range(4)
        }
        tree.write_graphml(tmp_path / "tree.graphml")
        again = networkx.read_graphml(tmp_path / "tree.graphml", node_type=int)
        assert {i: dict(again.nodes[i]) for i in again} == {i: dict(graph.nodes[i]) for i in graph}


def test_the_summary_has_wilsons_interval(tmp_path):
    results = written(tmp_path / "run")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary == summarise(results, summary["setting"])
    correct = sum(result.correct for result in results)
    expected = binomtest(correct, 5).proportion_ci(method="wilson")
    assert (summary["tasks"], summary["correct"]) == (5, correct)
    assert (summary["success_low"], summary["success_high"]) == pytest.approx(tuple(expected))
    assert summary["stops"] == {"budget:calls": 4, "budget:iterations": 1}
    assert summary["usage"]["calls"] == sum(result.usage.calls for result in results)


def test_wilson_by_hand():
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    written(tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run; choose another name"):
        RunFolder(tmp_path / "run", {})
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty", {}).close({})


def test_nothing_to_summarise():
    summary = summarise([])
    assert (summary["tasks"], summary["success"], summary["mean_credit"]) == (0, 0.0, 0.0)
    assert (summary["success_low"], summary["success_high"]) == (0.0, 1.0)


def test_averages_and_counts():
    results = [
        Result("a", correct=True, credit=1.0, score=2.0, any_correct=True, stop="finished"),
        Result("b", credit=0.5, any_correct=True, stop="budget:calls"),
        Result("c", status="failed"),
    ]
    summary = summarise(results)
    assert (summary["success"], summary["mean_credit"]) == (pytest.approx(1 / 3), 0.5)
    assert (summary["mean_score"], summary["best_leaf_correct"]) == (pytest.approx(2 / 3), 2)


@pytest.mark.parametrize(
    "task_id",
    ["a/b", "../../etc/passwd", "..", ".", "", "/abs", "a\\b", "x\0y", "C:\\x", "~root", "a b*?"],
)
def test_a_trees_file_stays_in_its_folder(task_id, tmp_path):
    name = tree_name(task_id)
    assert name.endswith(".json.gz") and not name.startswith(".")
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert not set(name) & set('/\\:*?"<>|\0~ ')


def test_a_result_that_cannot_be_written_names_the_folder(tmp_path):
    folder = RunFolder(tmp_path / "run", {})
    (tmp_path / "run" / "trees").rmdir()
    with pytest.raises(DataError, match="task letters/train/0 cannot be written"):
        folder.write(solved())
    folder.close({})
