"""A task made searchable: merging, hiding, counting, and the order of replies."""

import asyncio
import contextlib

import pytest

from agentsearch.budget import TEMPLATE_TOKENS, Account, Budget, Limits, Metered, Usage
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import BudgetExhausted, EngineError, EnvError, ModelError, PolicyError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.scoring import Scoring
from agentsearch.policies.scripted import Random, Scripted
from agentsearch.seeds import derive_seed
from agentsearch.types import Message, Proposal, Request, Tokens
from agentsearch.values.plain import Rollout, ScriptedValue, Uniform
from agentsearch.values.votes import Votes
from tests.toy import (
    Letters,
    Sampler,
    Slow,
    a_problem,
    every_letter,
    guess,
    text_value,
)


def run(work):
    return asyncio.run(work)


def some_tokens(i):
    return Tokens((1, 2), (i,), (-0.5,), (True,))


def drawn(*letters):
    """A policy whose samples are these letters, each with its own tokens."""
    return Scripted(
        lambda context, n: [
            Proposal(letter, f"raw {letter}", tokens=some_tokens(i))
            for i, letter in enumerate(letters)
        ]
    )


# -- merging and priors ----------------------------------------------------------------


def test_equal_actions_become_one_child_with_its_count():
    problem = a_problem(policy=drawn("a", "b", "a", "a"))
    first, second = run(problem.expand(problem.root, 4))
    assert [(c.action, c.proposal.count) for c in (first, second)] == [("a", 3), ("b", 1)]
    assert len(problem.tree) == 3


def test_the_first_samples_tokens_are_kept_and_those_of_the_others_too():
    problem = a_problem(policy=drawn("a", "b", "a", "a"))
    first, second = run(problem.expand(problem.root, 4))
    assert first.proposal.tokens == some_tokens(0)
    assert first.proposal.duplicates == (some_tokens(2), some_tokens(3))
    assert (second.proposal.tokens, second.proposal.duplicates) == (some_tokens(1), ())


def test_without_merging_equal_actions_are_different_children():
    problem = a_problem(policy=drawn("a", "a"), merge=False)
    children = run(problem.expand(problem.root, 2))
    assert [c.action for c in children] == ["a", "a"]
    assert [c.proposal.count for c in children] == [1, 1]


def test_without_merging_samples_are_their_own_nodes():
    problem = a_problem(policy=drawn("a", "a"), merge=False)
    [children] = run(problem.sample([(problem.root, 2)]))
    assert [node.id for node, _ in children] == [1, 2]


def test_the_prior_is_the_share_of_the_samples():
    problem = a_problem(policy=drawn("a", "b", "a", "a"))
    assert [c.prior for c in run(problem.expand(problem.root, 4))] == [0.75, 0.25]


def test_the_policys_own_prior_is_kept():
    policy = Scripted({"": [Proposal("a", "a", prior=0.6), Proposal("b", "b", prior=0.1)]})
    problem = a_problem(policy=policy)
    assert [c.prior for c in run(problem.expand(problem.root, 2))] == [0.6, 0.1]


def test_more_samples_share_the_priors_again():
    problem = a_problem(policy=drawn("a", "b"))
    run(problem.expand(problem.root, 2))
    problem._policy = drawn("b", "c")
    [children] = run(problem.sample([(problem.root, 2)]))
    assert [(node.action, count) for node, count in children] == [("b", 1), ("c", 1)]
    assert [(c.action, c.prior) for c in problem.root.children] == [
        ("a", 0.25),
        ("b", 0.5),
        ("c", 0.25),
    ]


# -- what search may see ---------------------------------------------------------------


class Spy:
    """Records every context a policy or value model is shown."""

    def __init__(self, letters="cab", worth=0.25):
        self.asked, self.judged, self.letters, self.worth = [], [], letters, worth

    @property
    def policy(self):
        return Scripted(lambda context, n: self.asked.append(context) or self.letters)

    @property
    def value(self):
        return ScriptedValue(lambda context: self.judged.append(context) or self.worth)


def walk(problem, text):
    """Step by step down to `text`, asking the value model at each node."""

    async def work():
        node = problem.root
        await problem.value(node)
        for letter in text:
            await problem.expand(node, 3)
            node = node.child(letter)
            await problem.value(node)
        await problem.expand(node, 3)
        return node

    return run(work())


def test_a_hidden_reward_reaches_neither_nodes_nor_models():
    spy = Spy()
    problem = a_problem(Letters(pay={"a": 1.0}), spy.policy, spy.value)
    walk(problem, "cab")
    assert {node.reward for node in problem.tree.nodes} == {None}
    turns = [turn for context in spy.asked + spy.judged for turn in context.turns]
    assert turns and {turn.reward for turn in turns} == {None}


def test_a_visible_reward_stands_on_its_edge():
    spy = Spy()
    env = Letters(pay={"a": 0.5})
    leaf = walk(a_problem(env, spy.policy, spy.value, reward_visible=True), "cab")
    assert [node.reward for node in leaf.path()] == [None, 0.0, 0.5, 1.0]
    assert [turn.reward for turn in spy.judged[-1].turns] == [0.0, 0.5]


def test_no_model_is_asked_about_a_terminated_state():
    spy = Spy()
    leaf = walk(a_problem(policy=spy.policy, value=spy.value), "cab")
    assert leaf.terminated
    assert {c.observation for c in spy.asked} == {"", "c", "ca"}
    assert [c.observation for c in spy.judged] == ["", "c", "ca"]


def test_a_terminal_is_worth_its_parents_value_where_the_reward_is_hidden():
    worth = {"": 0.1, "c": 0.2, "ca": 0.7}
    leaf = walk(a_problem(value=text_value(worth.__getitem__)), "cab")
    assert leaf.value == 0.7


def test_a_terminal_is_worth_nothing_more_where_the_reward_is_visible():
    leaf = walk(a_problem(value=text_value(lambda text: 0.7), reward_visible=True), "cab")
    assert (leaf.reward, leaf.value) == (1.0, 0.0)


def test_a_truncated_state_is_valued_but_not_expanded():
    spy = Spy()
    leaf = walk(a_problem(Letters(truncate=2), spy.policy, spy.value), "ca")
    assert leaf.truncated and leaf.value == 0.25 and not leaf.children
    assert [c.observation for c in spy.judged][-1] == "ca"
    assert {c.observation for c in spy.asked} == {"", "c"}


@pytest.mark.parametrize("slow", [False, True])
def test_several_endings_of_an_unvalued_parent_cost_one_question(slow):
    spy = Spy()
    problem = a_problem(Letters(word="a"), every_letter(), Slow(spy.value) if slow else spy.value)
    children = run(problem.expand(problem.root, 3))
    assert all(child.terminated for child in children)
    assert run(problem.values(children)) == [0.25] * 3
    assert len(spy.judged) == 1 and problem.budget.usage.calls == 3 + 1


def test_the_context_holds_the_way_here_and_no_more():
    problem = a_problem()
    leaf = walk(problem, "ca")
    context = problem.context(leaf)
    assert context.prompt == "Spell the word."
    assert context.observation == "ca"
    assert [(t.observation, t.action) for t in context.turns] == [("", "c"), ("c", "a")]
    assert context.legal_actions == ("a", "b", "c")
    assert context.account is None


def test_a_value_told_with_the_proposal_is_not_asked_again():
    spy = Spy()
    problem = a_problem(policy=Scripted({"": [Proposal("a", "a", value=0.4)]}), value=spy.value)
    [child] = run(problem.expand(problem.root, 1))
    assert run(problem.value(child)) == 0.4 and spy.judged == []


def test_a_value_is_asked_once():
    spy = Spy()
    problem = a_problem(value=spy.value)
    assert [run(problem.value(problem.root)) for _ in range(2)] == [0.25, 0.25]
    assert len(spy.judged) == 1


def public_objects(start):
    """Everything reachable through attributes without an underscore, slots included."""
    seen, stack = {}, [start]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (str, bytes, int, float, type(None), type)):
            continue
        seen[id(item)] = item
        if isinstance(item, (list, tuple, set, frozenset)):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend([*item.keys(), *item.values()])
        elif not callable(item):
            stack.extend(getattr(item, n, None) for n in dir(item) if not n.startswith("_"))
    return list(seen.values())


def test_no_verifier_can_be_reached_from_what_a_search_sees():
    problem = a_problem()
    leaf = walk(problem, "cab")
    context = problem.context(leaf.parent, Account(problem.budget))
    for start in (problem, context):
        reached = public_objects(start)
        assert len(reached) > 3
        assert not [item for item in reached if hasattr(item, "verify")]
        assert not [item for item in reached if hasattr(item, "verifier")]
    assert [x for x in public_objects({"env": Letters()}) if hasattr(x, "verify")]  # it can fail


# -- what cannot be read or carried out ------------------------------------------------


def test_unparsable_replies_are_counted_and_make_no_node():
    policy = Scripted({"": [Proposal(None, "hm", count=2), Proposal("a", "a")]})
    problem = a_problem(policy=policy)
    assert [c.action for c in run(problem.expand(problem.root, 3))] == ["a"]
    assert problem.budget.usage.parse_failures == 2
    assert problem.root.cost.parse_failures == 2


def test_invalid_actions_are_counted_and_make_no_node():
    problem = a_problem(policy=drawn("z", "a", "z"))
    [child] = run(problem.expand(problem.root, 3))
    assert child.action == "a" and len(problem.tree) == 2
    assert problem.budget.usage.invalid_actions == 2
    assert run(problem.step(problem.root, "z")) is None
    assert problem.budget.usage.invalid_actions == 3


def test_a_step_is_taken_once_for_an_action():
    problem = a_problem()
    first, again = run(problem.step(problem.root, "a")), run(problem.step(problem.root, "a"))
    assert first is again and problem.budget.usage.env_steps == 1


def test_expanding_again_asks_nobody():
    spy = Spy()
    problem = a_problem(policy=spy.policy)
    first = list(run(problem.expand(problem.root, 2)))
    assert list(run(problem.expand(problem.root, 3))) == first
    assert len(spy.asked) == 1 and problem.budget.usage.calls == 2


def test_asking_again_where_nothing_could_be_read_draws_anew():
    seeds = []

    class Mute:
        async def propose(self, context, n, *, seed, mode="sample"):
            seeds.append(seed)
            return [Proposal(None, "")]

    problem = a_problem(policy=Mute())
    run(problem.expand(problem.root, 1))
    run(problem.expand(problem.root, 1))
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (EnvError, {"env": Letters(broken="a")}),
        (PolicyError, {"policy": Scripted(lambda context, n: 1 / 0)}),
        (ModelError, {"value": ScriptedValue(lambda context: 1 / 0)}),
    ],
)
def test_an_error_names_the_part_that_raised_it(error, parts):
    problem = a_problem(**parts)
    with pytest.raises(error, match="ZeroDivisionError|RuntimeError"):
        run(problem.visit(problem.root, 3))


def test_an_environment_that_cannot_be_looked_at_is_to_blame():
    class Blind(Letters):
        def observe(self, state):
            return state if state != "b" else 1 / 0

    problem = a_problem(Blind())
    with pytest.raises(EnvError, match="observe: ZeroDivisionError"):
        run(problem.expand(problem.root, 3))


# -- budget ----------------------------------------------------------------------------


def test_samples_are_clipped_to_what_is_left():
    problem = a_problem(policy=every_letter(), calls=2)
    assert [c.action for c in run(problem.expand(problem.root, 3))] == ["a", "b"]
    assert problem.budget.usage.calls == 2
    with pytest.raises(BudgetExhausted):
        run(problem.value(problem.root))


def test_what_was_paid_for_is_recorded_when_the_budget_ends():
    problem = a_problem(calls=4)
    first, second, third = run(problem.expand(problem.root, 3))
    with pytest.raises(BudgetExhausted) as spent:
        run(problem.expand_all([first, second, third], 3))
    assert (spent.value.kind, spent.value.used, spent.value.limit) == ("calls", 4, 4)
    assert [c.state for c in first.children] == ["aa"]
    assert not second.children and not third.children


def test_siblings_of_an_unaffordable_value_are_kept():
    problem = a_problem(value=text_value(len), calls=5)
    children = run(problem.expand(problem.root, 3))
    with pytest.raises(BudgetExhausted):
        run(problem.values(children))
    assert [child.value for child in children] == [1, 1, None]


@pytest.mark.parametrize("instant", [True, False])
def test_steps_taken_before_the_limit_are_kept(instant):
    problem = a_problem(Letters(instant=instant), env_steps=2)
    assert [c.action for c in run(problem.expand(problem.root, 3))] == ["a", "b"]
    assert problem.budget.usage.env_steps == 2
    with pytest.raises(BudgetExhausted):
        run(problem.expand(problem.root.children[0], 3))


def test_side_by_side_requests_never_overrun_the_calls():
    for limit in range(1, 14):
        problem = a_problem(policy=Slow(every_letter()), value=Slow(guess()), calls=limit)

        async def work(problem=problem):
            await problem.visit(problem.root, 3)
            await problem.visit_all(problem.root.children, 3)

        with contextlib.suppress(BudgetExhausted):
            run(work())
        assert problem.budget.usage.calls <= limit
        assert problem.budget.reserved_calls == 0
    assert problem.budget.usage.calls == 13  # root: 1 + 3, children: 3 * (1 + 3), so it was short


def test_a_free_part_is_charged_nothing():
    problem = a_problem(policy=Random(), value=Uniform())
    run(problem.visit(problem.root, 3))
    assert problem.budget.usage.calls == 0 and problem.budget.usage.env_steps == 3


# -- order of replies ------------------------------------------------------------------


def grown(env, policy, value, seed):
    problem = a_problem(env, policy, value, seed=seed, reward_visible=True)

    async def work():
        await problem.visit(problem.root, 3)
        await problem.visit_all(problem.root.children, 3)
        leaves = list(problem.root.leaves())
        await problem.expand_all(leaves, 3)
        await problem.values(leaves)
        await problem.sample([(leaf, 2) for leaf in leaves if not leaf.done])
        return problem.tree.to_json()

    return run(work())


@pytest.mark.parametrize("value", [guess(), Rollout(n=3)])
def test_the_tree_does_not_depend_on_which_reply_comes_first(value):
    env, slow = Letters(word="caba"), Letters(word="caba", instant=False)
    slow_value = value if isinstance(value, Rollout) else Slow(value)
    for seed in range(5):
        fast_tree = grown(env, Sampler(), value, seed)
        assert len(fast_tree["nodes"]) > 15
        assert grown(slow, Slow(Sampler()), slow_value, seed) == fast_tree
        assert grown(slow, Slow(Sampler()), slow_value, seed) == fast_tree


def test_another_seed_grows_another_tree():
    trees = [grown(Letters(word="caba"), Sampler(), guess(), seed) for seed in (0, 0, 1)]
    assert trees[0] == trees[1] != trees[2]


def test_a_draw_has_a_seed_of_its_own_whatever_came_before_elsewhere():
    seeds = []

    class Recorder:
        async def propose(self, context, n, *, seed, mode="sample"):
            seeds.append((context.observation, mode, seed))
            return [Proposal("a", "a"), Proposal("b", "b")]

    problem = a_problem(policy=Recorder(), seed=7)
    first, second = run(problem.expand(problem.root, 2))
    run(problem.expand_all([second, first], 2))
    run(problem.sample([(first, 2)]))
    run(problem.sample([(first, 2)]))
    task = problem.task.id
    assert seeds == [
        ("", "distinct", derive_seed(7, task, 0, "distinct", 0)),
        ("b", "distinct", derive_seed(7, task, 2, "distinct", 0)),
        ("a", "distinct", derive_seed(7, task, 1, "distinct", 0)),
        ("a", "sample", derive_seed(7, task, 1, "sample", 2)),
        ("a", "sample", derive_seed(7, task, 1, "sample", 4)),
    ]


# -- what an engine is charged ---------------------------------------------------------

CHAT = (Message("system", "one two"), Message("user", "three"))


def ask(engine, budget, **fields):
    request = Request(CHAT, account=Account(budget), **fields)
    return run(Metered(engine).generate(request)), request.account.usage


def test_tokens_are_the_uncached_prompt_and_what_was_generated():
    budget = Budget(Limits(calls=10))
    engine = ScriptedEngine(lambda request, i: "a b c d")
    completions, usage = ask(engine, budget, n=2)
    assert len(completions) == 2
    assert (usage.calls, usage.requests) == (2, 1)
    assert (usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens) == (6, 3, 8)
    assert usage.tokens == 3 + 8
    assert budget.usage == usage and budget.reserved_calls == budget.reserved_tokens == 0


def test_choices_cost_one_call_and_their_tokens():
    budget = Budget(Limits(calls=1))
    engine = ScriptedEngine(score=lambda request, choice: -1.0)
    completions, usage = ask(engine, budget, choices=("x", "y z", "w"))
    assert len(completions) == 3
    assert (usage.calls, usage.tokens) == (1, 3 + 4)


def test_a_request_is_clipped_to_the_calls_left():
    budget = Budget(Limits(calls=3))
    completions, usage = ask(ScriptedEngine(lambda request, i: "a"), budget, n=5)
    assert len(completions) == 3 and usage.calls == 3
    with pytest.raises(BudgetExhausted):
        ask(ScriptedEngine(lambda request, i: "a"), budget)


def test_a_request_is_clipped_to_the_tokens_it_could_cost():
    budget = Budget(Limits(tokens=3 + 2 * 10 + 5))
    completions, usage = ask(ScriptedEngine(lambda r, i: "a b"), budget, n=5, max_tokens=10)
    assert len(completions) == 2  # a third could have cost 10 more
    assert usage.tokens == 3 + 2 * 2 and budget.reserved_tokens == 0


def test_tokens_are_never_overrun_side_by_side():
    budget = Budget(Limits(tokens=100))
    engine = Metered(ScriptedEngine(lambda request, i: "a " * 10, latency_s=0.001))

    async def work():
        asked = (
            engine.generate(Request(CHAT, n=2, max_tokens=10, account=Account(budget)))
            for _ in range(9)
        )
        return await asyncio.gather(*asked, return_exceptions=True)

    replies = run(work())
    assert sum(isinstance(reply, BudgetExhausted) for reply in replies) == 5
    assert budget.usage.tokens == 4 * (3 + 2 * 10) <= 100


def test_a_request_that_nobody_pays_for_is_refused():
    engine = Metered(ScriptedEngine(lambda request, i: "a"))
    with pytest.raises(EngineError, match="no account"):
        run(engine.generate(Request(CHAT, n=2)))


def test_a_policy_whose_engine_is_not_metered_is_charged_by_its_samples():
    problem = a_problem(policy=Prompted(ScriptedEngine(lambda request, i: "abc"[i])), calls=5)
    run(problem.expand(problem.root, 3))
    assert problem.budget.usage.calls == 3


def test_a_policy_around_a_metered_one_is_charged_once():
    class Around:
        inner = Prompted(Metered(ScriptedEngine(lambda request, i: "abc"[i])))

        async def propose(self, context, n, *, seed, mode="sample"):
            return await self.inner.propose(context, n, seed=seed, mode=mode)

    problem = a_problem(policy=Around(), calls=20)
    run(problem.expand(problem.root, 3))
    assert problem.budget.usage.calls == 3 and problem.budget.reserved_calls == 0


def test_a_value_at_a_node_is_charged_unless_it_is_free():
    class Nodes:
        async def value_at(self, problem, node, *, seed):
            return 0.25

    problem = a_problem(value=Nodes(), calls=20)
    assert run(problem.value(problem.root)) == 0.25
    assert problem.budget.usage.calls == 1


def test_a_failing_engine_is_named_and_gives_its_reservation_back():
    budget = Budget(Limits(calls=2))
    with pytest.raises(EngineError, match="generate: ZeroDivisionError"):
        ask(ScriptedEngine(lambda request, i: 1 / 0), budget)
    assert budget.reserved_calls == 0 and budget.usage.calls == 0


def test_a_prompted_policy_and_voted_value_pay_through_their_engine():
    engine = Metered(ScriptedEngine(lambda request, i: "ab"[i % 2]))
    judge = Metered(ScriptedEngine(lambda request, i: ["sure", "likely", "what?"][i]))
    problem = a_problem(policy=Prompted(engine), value=Votes(judge, n=3), calls=100)
    assert run(problem.visit(problem.root, 4)) == 0.5
    assert [(c.action, c.prior) for c in problem.root.children] == [("a", 0.5), ("b", 0.5)]
    usage = problem.budget.usage
    assert (usage.calls, usage.requests, usage.fallbacks) == (4 + 3, 2, 1)
    assert problem.root.cost.calls == 7 and problem.root.cost.fallbacks == 1


def test_scoring_the_legal_actions_gives_their_priors_for_one_call():
    scores = {"a": -1.0, "b": -2.0, "c": -3.0}
    engine = Metered(ScriptedEngine(score=lambda request, choice: scores[choice]))
    problem = a_problem(policy=Scoring(engine), calls=5)
    children = run(problem.expand(problem.root, 2))
    assert [c.action for c in children] == ["a", "b"]
    assert [c.prior for c in children] == pytest.approx([0.66524, 0.24473], abs=1e-5)
    assert problem.budget.usage.calls == 1


def test_usage_adds_up_by_name():
    total = Usage(calls=1, prompt_tokens=5, cached_tokens=2)
    total.add(Usage(calls=2, generated_tokens=4))
    assert (total.calls, total.tokens) == (3, 5 - 2 + 4)


def test_a_rollout_is_charged_to_the_node_it_starts_from_and_leaves_its_draws_alone():
    problem = a_problem(value=Rollout(n=2), reward_visible=True)
    run(problem.value(problem.root))
    assert problem.budget.usage.calls == problem.root.cost.calls == 2 * 3
    assert problem.root.draws == 0 and len(problem.tree) == 1


# -- endings and interruptions ---------------------------------------------------------


@pytest.mark.parametrize("ask", ["value", "visit"])
def test_an_ending_can_be_asked_about_before_its_parent(ask):
    spy = Spy()
    problem = a_problem(Letters(word="a"), value=spy.value)
    [first, *_] = run(problem.expand(problem.root, 3))
    work = problem.value(first) if ask == "value" else problem.visit(first, 3)
    assert run(work) == 0.25 and first.value == problem.root.value == 0.25
    assert [context.observation for context in spy.judged] == [""]


def test_a_truncated_leaf_can_be_visited():
    problem = a_problem(Letters(truncate=1), value=text_value(lambda text: 0.4))
    [first, *_] = run(problem.expand(problem.root, 3))
    assert run(problem.visit(first, 3)) == 0.4 and not first.children


def test_a_cancelled_search_leaves_nobody_behind():
    asked, ended = [], []

    class Hanging:
        async def value(self, context, *, seed):
            asked.append(context.observation)
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(context.observation)

    problem = a_problem(value=Hanging())

    async def work():
        children = await problem.expand(problem.root, 3)
        searching = asyncio.create_task(problem.values(children))
        await asyncio.sleep(0.01)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert run(work()) == set()
    assert asked == sorted(ended) == ["a", "b", "c"]
    assert problem.budget.reserved_calls == 0


class Uncounted:
    """An engine that cannot count its prompt: it is taken to be a third of its characters."""

    async def generate(self, request):
        return await ScriptedEngine(lambda r, i: "a", score=lambda r, c: -1.0).generate(request)

    async def close(self):
        pass


def test_a_prompt_that_cannot_be_counted_is_estimated():
    long = (Message("user", "x" * 300),)
    for fields in ({"max_tokens": 5}, {"choices": ("y" * 10,)}):
        most = 300 + TEMPLATE_TOKENS + (11 if "choices" in fields else 5)
        for tokens, granted in ((most - 1, False), (most, True)):
            budget = Budget(Limits(tokens=tokens))
            request = Request(long, account=Account(budget), **fields)
            if granted:
                assert len(run(Metered(Uncounted()).generate(request))) == 1
            else:
                with pytest.raises(BudgetExhausted):
                    run(Metered(Uncounted()).generate(request))


def test_the_first_ending_frees_what_was_kept_back():
    problem = a_problem(calls=100)
    problem.budget = Budget(Limits(calls=100), finishing_steps=9)
    asyncio.run(problem.expand(problem.root, 3))
    assert problem.budget.calls_limit == 91
    node = problem.root
    while not node.terminated:
        node = asyncio.run(problem.step(node, "c"))
    assert problem.budget.calls_limit == 100


def test_as_many_actions_as_were_to_be_finished_free_what_was_kept_back():
    problem = a_problem(calls=100)
    problem.budget = Budget(Limits(calls=100), finishing_steps=2)
    node = asyncio.run(problem.step(problem.root, "c"))
    assert problem.budget.calls_limit == 98
    asyncio.run(problem.step(node, "c"))
    assert problem.budget.calls_limit == 100


def test_a_value_that_is_no_number_is_the_models_fault():
    problem = a_problem(value=ScriptedValue(lambda context: float("nan")))
    with pytest.raises(ModelError, match="finite"):
        run(problem.value(problem.root))
