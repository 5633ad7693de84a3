"""Acting with search: what is kept from decision to decision, and what is committed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, replace

import pytest

from agentsearch.budget import Limits
from agentsearch.policies.scripted import Random, Scripted
from agentsearch.runner import Setup, solve, summarise
from agentsearch.search.beam import Beam
from agentsearch.search.best_first import BestFirst
from agentsearch.search.best_of_n import BestOfN, SelfConsistency
from agentsearch.search.greedy import Greedy
from agentsearch.search.mcts import MCTS
from agentsearch.types import Proposal, Step
from agentsearch.values.plain import ScriptedValue, Uniform
from tests.corridor import MOVES, Corridor, every_move, nearness
from tests.toy import Sampler, Slow

SEARCHES = {
    "greedy": Greedy(),
    "best_of_n": BestOfN(depth=2),
    "self_consistency": SelfConsistency(depth=1),
    "beam": Beam(beam_width=2, width=3, depth=2),
    "best_first": BestFirst(width=3),
    "best_first_paper": BestFirst(width=3, order="paper", samples=3),
    "mcts_puct": MCTS(width=3, discount=0.9),
    "mcts_uct": MCTS(width=3, selection="uct", c_uct=0.3, discount=0.9),
    "mcts_parallel": MCTS(width=3, parallel=3, discount=0.9),
}
all_searches = pytest.mark.parametrize("name", SEARCHES)
BRANCHING = [n for n in SEARCHES if n not in ("greedy", "best_of_n", "self_consistency")]
branching = pytest.mark.parametrize("name", BRANCHING)


def acted(search, *, env=None, limits=None, **fields):
    env = env or Corridor()
    search = SEARCHES[search] if isinstance(search, str) else search
    standard = {"policy": every_move(), "value": nearness(), "limits": Limits(calls=20)}
    setup = Setup(env=env, search=search, mode="act", **{**standard, **fields})
    if limits:
        setup = replace(setup, limits=limits)
    return asyncio.run(solve(env.tasks("dev")[0], setup))


def tosser():
    """A stochastic policy that likes to go left."""
    return Sampler({"left": 3.0, "stay": 2.0, "right": 2.0}, repeats=False)


# -- what is kept ----------------------------------------------------------------------


class Watched:
    """A policy and a value that write down where they were asked, and how."""

    def __init__(self):
        self.asked, self.judged = Counter(), Counter()

    async def propose(self, context, n, *, seed, mode="sample"):
        self.asked[mode, tuple(turn.action for turn in context.turns)] += 1
        return await tosser().propose(context, n, seed=seed, mode=mode)

    async def value(self, context, *, seed):
        self.judged[tuple(turn.action for turn in context.turns)] += 1
        return await nearness().value(context, seed=seed)


@all_searches
@pytest.mark.parametrize("calls", [5, 9, 24])
def test_nothing_is_paid_for_twice(name, calls):
    watched = Watched()
    result = acted(name, policy=watched, value=watched, limits=Limits(calls=calls))
    assert result.decisions == result.steps > 1
    assert set(watched.judged.values()) <= {1}
    once = [count for (mode, _), count in watched.asked.items() if mode != "sample"]
    assert set(once) <= {1}


def test_best_first_goes_on_with_the_open_leaves_it_has():
    """No iteration is spent on walking again through what was expanded before."""
    search = BestFirst(width=3)
    first = acted(search, limits=Limits(calls=60, iterations=4), env=Corridor(goal=9, start=3))
    expanded = [n.id for n in first.tree.nodes if n.children]
    assert len(expanded) == 4 * first.decisions
    assert len(set(expanded)) == len(expanded)


def test_best_first_judges_first_what_it_could_not_afford_before():
    watched = Watched()
    acted(BestFirst(width=3), policy=watched, value=watched, limits=Limits(calls=5))
    # 3 children, 2 of them judged; after the first step the third may be gone
    assert sum(watched.judged.values()) >= 2


def test_paper_takes_later_what_it_left_waiting():
    watched = Watched()
    search = BestFirst(width=3, order="paper", samples=3, threshold=2.0)
    result = acted(
        search, policy=watched, value=watched, limits=Limits(calls=6), env=Corridor(9, 3)
    )
    assert set(watched.asked.values()) == {1}  # candidates are kept, not asked for anew
    late = [n for n in result.tree.nodes[1:] if n.id > n.parent.id + 4 and n.visits]
    assert late  # children taken long after their parent was asked


def test_paper_stops_at_once_where_what_it_kept_is_good_enough():
    search = BestFirst(width=3, order="paper", samples=3, threshold=0.85)
    policy = every_move("right", "stay", "left")
    result = acted(search, env=Corridor(goal=4, start=1), policy=policy)
    first, *others = result.tree.meta["decisions"]
    assert first["stop"] == "threshold" and first["calls"] > 0
    assert others[0] == {"root": others[0]["root"], "nodes": first["nodes"], "calls": 0,
                         "stop": "threshold"}  # fmt: skip


def test_episodes_below_the_new_root_count():
    watched = Watched()
    result = acted(
        BestOfN(n=6, batch=6, depth=2), policy=watched, value=watched, limits=Limits(calls=60)
    )
    drawn = [each["calls"] for each in result.tree.meta["decisions"]]
    assert drawn[0] > drawn[1]  # part of the six were there already
    for node in result.tree.nodes:
        assert sum(child.visits for child in node.children) <= max(node.visits, 12)


def test_a_beam_grows_on_from_its_kept_levels():
    first = acted(Beam(beam_width=2, width=3, depth=2), limits=Limits(calls=60))
    calls = [each["calls"] for each in first.tree.meta["decisions"]]
    assert calls[0] > calls[1] > 0  # the second decision pays for one level only


def test_the_policy_alone_pays_for_every_step_once():
    for calls in (1, 3, 10):
        result = acted(Greedy(), policy=every_move("right"), limits=Limits(calls=calls))
        assert (result.correct, result.steps, result.usage.calls) == (True, 2, 2)


# -- what a decision can afford --------------------------------------------------------


@all_searches
@pytest.mark.parametrize("seed", range(2))
def test_with_one_call_a_decision_every_search_is_the_policy_alone(name, seed):
    fields = {"policy": tosser(), "limits": Limits(calls=1), "seed": seed}
    alone = acted("greedy", **fields)
    result = acted(name, **fields)
    assert result.actions == alone.actions and len(result.actions) == 30
    assert result.usage.calls == alone.usage.calls == 30


@all_searches
@pytest.mark.parametrize("calls", [2, 3, 5, 8, 13])
def test_a_decision_always_finds_an_action_within_its_budget(name, calls):
    result = acted(name, policy=tosser(), limits=Limits(calls=calls))
    assert result.stop in ("terminated", "truncated")
    assert all(each["calls"] <= calls for each in result.tree.meta["decisions"])
    assert result.usage.calls == sum(each["calls"] for each in result.tree.meta["decisions"])


def test_no_more_is_committed_than_was_searched():
    one_look = acted(
        MCTS(width=3), commit=9, limits=Limits(calls=8), policy=every_move("right", "left", "stay")
    )
    # 2 simulations: the root and `right`, whose own children nobody has visited
    assert one_look.decisions == one_look.steps


def test_without_visits_the_likeliest_proposal_is_taken():
    @dataclass(frozen=True)
    class Idle:
        choose = "best_seen"

        async def search(self, problem):
            await problem.expand(problem.root, 3)

    policy = Scripted(
        lambda context, n: [Proposal("left", "", prior=0.2), Proposal("right", "", prior=0.8)]
    )
    result = acted(Idle(), policy=policy)
    assert result.actions == ["right", "right"] and result.usage.calls == 2 * 3


def test_what_stopped_an_episode_without_action_is_told():
    assert acted("mcts_puct", policy=Scripted(lambda context, n: [])).stop == "no action"
    broke = acted("mcts_puct", limits=Limits(env_steps=1, calls=9), policy=every_move("nowhere"))
    assert (broke.stop, broke.steps) == ("budget:env_steps", 0)


# -- what is chosen --------------------------------------------------------------------

NEAR_A_PIT = Corridor(goal=4, start=1, pit=True)


@pytest.mark.parametrize("search", [Beam(width=3, depth=1), BestFirst(depth=1), MCTS(discount=0.9)])
def test_an_ending_is_not_chosen_because_it_is_one(search):
    """At the first step there is one ending, the pit, and two ways on, one better."""
    assert acted(search, env=NEAR_A_PIT, commit=1).correct
    fallen = acted(search, env=NEAR_A_PIT, prefer_finished=True, limits=Limits(calls=10))
    assert (fallen.correct, fallen.actions, fallen.stop) == (False, ["left"], "terminated")


def test_of_equally_good_ways_the_one_that_ends_is_chosen():
    flat = ScriptedValue(lambda context: 0.5)
    result = acted(Beam(width=3, depth=1), env=Corridor(goal=4, start=3), value=flat)
    assert result.actions == ["right"]


@pytest.mark.parametrize("visible", [False, True])
@branching
def test_the_goal_is_reached_without_detour(name, visible):
    result = acted(
        name, env=Corridor(goal=6, start=3), value=nearness(6), limits=Limits(calls=40),
        reward_visible=visible, cycles="prune",
    )  # fmt: skip
    assert (result.correct, result.actions) == (True, ["right"] * 3)


# -- cycles ----------------------------------------------------------------------------


def returns(tree, roots):
    """Nodes whose place was on the path from the root of their search already."""
    found = 0
    for node in tree.nodes[1:]:
        above, here = [], node.parent
        while here is not None:
            above.append(here.observation)
            if here.id in roots:
                break
            here = here.parent
        found += node.observation in above
    return found


@branching
def test_pruned_searches_never_come_back_to_their_own_path(name):
    limits = Limits(calls=30)
    env = Corridor(goal=9, start=3)
    kept = acted(name, env=env, value=nearness(9), limits=limits)
    pruned = acted(name, env=env, value=nearness(9), limits=limits, cycles="prune")
    roots = {each["root"] for each in pruned.tree.meta["decisions"]}
    assert returns(kept.tree, {0}) and kept.cycles == 0
    assert returns(pruned.tree, roots) == 0 and pruned.cycles > 0
    assert summarise([pruned, kept])["cycles"] == pruned.cycles


def test_a_search_may_go_back_to_where_the_episode_has_been():
    """What leads back above the new root joins the tree again."""
    worth = {"2": 0.5, "1": 0.9, "3": 0.1}
    fickle = ScriptedValue(lambda context: worth.get(context.observation, 0.0))
    result = acted(
        BestFirst(width=3, depth=2), value=fickle, cycles="prune", limits=Limits(calls=60),
        env=Corridor(goal=6, start=2, limit=4),
    )  # fmt: skip
    assert result.actions[0] == "left"  # to 1
    second = result.tree.nodes[result.tree.meta["decisions"][1]["root"]]
    assert "2" in {child.observation for child in second.children}


@pytest.mark.parametrize("name", ["greedy", "best_of_n", "self_consistency"])
def test_the_policys_own_episodes_are_never_pruned(name):
    for calls in (1, 7):
        fields = {"policy": tosser(), "limits": Limits(calls=calls)}
        pruned = acted(name, cycles="prune", **fields)
        assert pruned.cycles == 0
        assert pruned.tree.to_json() == acted(name, **fields).tree.to_json()


def test_where_every_way_leads_back_the_policy_decides():
    """Nobody is asked again for what was pruned."""
    stuck = acted(MCTS(width=3), policy=every_move("stay"), cycles="prune", env=Corridor(limit=2))
    assert (stuck.stop, stuck.actions, stuck.cycles) == ("truncated", ["stay", "stay"], 2)
    assert [each["calls"] for each in stuck.tree.meta["decisions"]] == [1 + 3 + 1, 1 + 3 + 1]


# -- endings ---------------------------------------------------------------------------


def test_an_episode_says_how_it_ended():
    arrived = acted("beam")
    assert (arrived.stop, arrived.truncated, arrived.steps) == ("terminated", False, 2)
    assert arrived.score == pytest.approx(1 - 0.9 * 2 / 30)
    cut = acted("greedy")
    assert (cut.stop, cut.truncated, cut.steps, cut.score) == ("truncated", True, 30, 0.0)
    late = acted("greedy", env=Corridor(limit=99))
    assert (late.stop, late.truncated, late.steps) == ("max_steps", True, 40)
    summary = summarise([arrived, cut, late])
    assert (summary["truncated"], summary["mean_steps"]) == (2, 24)
    assert summary["stops"] == {"terminated": 1, "truncated": 1, "max_steps": 1}


@pytest.mark.parametrize("search", [MCTS(width=3), BestFirst(width=3)])
def test_a_truncated_leaf_is_worth_what_the_model_says(search):
    env = Corridor(goal=9, start=4, limit=1)
    result = acted(search, env=env, value=nearness(9), limits=Limits(calls=12))
    leaves = [node for node in result.tree.nodes if node.truncated and node.visits]
    assert leaves
    for leaf in leaves:
        assert leaf.mean_value == leaf.value == pytest.approx(0.9 ** (9 - int(leaf.observation)))


# -- worlds that answer otherwise ------------------------------------------------------


def test_search_goes_on_from_what_really_happened():
    class Windy(Corridor):
        """Blows the walker to the left at the first step that is taken a second time."""

        blown = False

        async def step(self, state, action):
            step = await super().step(state, action)
            if action == "right" and state == (2, 0):
                if Windy.blown:
                    return Step((1, 1))
                Windy.blown = True
            return step

    result = acted(BestFirst(width=3), env=Windy(), limits=Limits(calls=30))
    assert (result.correct, result.mismatches) == (True, 1)
    path = [result.tree.nodes[i].observation for i in result.tree.meta["committed"]]
    assert path == ["1", "2", "3", "4"]


# -- what decides ----------------------------------------------------------------------


@all_searches
def test_the_same_seed_is_the_same_episode_whatever_the_order_of_replies(name):
    def tree(slow):
        policy, value = tosser(), nearness(noise=0.1)
        parts = (Slow(policy), Slow(value)) if slow else (policy, value)
        return acted(name, policy=parts[0], value=parts[1], limits=Limits(calls=11), seed=5)

    fast, again = tree(slow=False), tree(slow=False)
    assert fast.tree.to_json() == again.tree.to_json() == tree(slow=True).tree.to_json()


# -- pictures --------------------------------------------------------------------------


def test_every_node_of_the_tree_has_its_picture_where_the_environment_draws():
    tree = acted("beam").tree
    assert {node.extra["picture"] for node in tree.nodes} == {".@...", "..@..", "...@.", "....@"}
    assert type(tree).from_json(tree.to_json()).nodes[0].extra == {"picture": "..@.."}


def test_a_picture_that_cannot_be_drawn_fails_no_task():
    class Dark(Corridor):
        def picture(self, state):
            raise RuntimeError("no light")

    result = acted("beam", env=Dark())
    assert result.correct and result.status == "ok"


def test_random_and_free_parts_act_too():
    result = acted(MCTS(width=3), policy=Random(), value=Uniform(), limits=Limits(iterations=9))
    assert result.stop in ("terminated", "truncated") and set(result.actions) <= set(MOVES)
