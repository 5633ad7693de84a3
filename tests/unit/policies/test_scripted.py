"""Policies without a model."""

import asyncio

import pytest

from agentsearch.config import Builder, load_recipe
from agentsearch.errors import ConfigError, PolicyError
from agentsearch.policies.scripted import OraclePolicy, Random, Rule, Scripted
from agentsearch.types import Context, Proposal
from tests.toy import Letters, a_problem

CONTEXT = Context("p", "o", legal_actions=("a", "b", "c"))


def proposed(policy, n=3, mode="sample", seed=0, context=CONTEXT):
    return [p.action for p in asyncio.run(policy.propose(context, n, seed=seed, mode=mode))]


def test_a_script_is_a_function_or_a_mapping():
    assert proposed(Scripted(lambda context, n: [context.observation] * n), 2) == ["o", "o"]
    assert proposed(Scripted({"o": ["x", "y", "z"]}), 2) == ["x", "y"]
    assert proposed(Scripted({"elsewhere": ["x"]})) == []


def test_greedy_is_the_first_alone():
    assert proposed(Scripted({"o": ["x", "y"]}), mode="greedy") == ["x"]


def test_a_script_may_give_whole_proposals():
    whole = Proposal("x", "raw", prior=0.3)
    assert asyncio.run(Scripted({"o": [whole]}).propose(CONTEXT, 1, seed=0)) == [whole]


def test_random_is_uniform_over_the_legal_actions():
    drawn = proposed(Random(), 3000)
    assert all(drawn.count(letter) == pytest.approx(1000, abs=100) for letter in "abc")
    assert sorted(proposed(Random(), 9, "distinct")) == ["a", "b", "c"]
    assert proposed(Random(), seed=1) == proposed(Random(), seed=1)
    assert len({tuple(proposed(Random(), seed=seed)) for seed in range(20)}) > 5


OPEN = Context("Buy red shoes.", "start page")


class Shop(Letters):
    """Suggests a search; has rules by name, and none without."""

    def suggestions(self, context):
        words = context.prompt.rstrip(".").split()[1:]
        return [f"search[{word}]" for word in words]

    def rules(self):
        return {
            "plain": lambda context, rng: f"plain {context.observation}",
            "options": lambda context, rng: f"options {rng.random()}",
        }


class Ruled(Shop):
    """Has one rule without a name too."""

    def rule(self, context, rng):
        return "the rule"


@pytest.mark.parametrize("policy", [Random(), Random(Letters())])
def test_random_needs_something_to_draw_from(policy):
    with pytest.raises(PolicyError, match="finite list"):
        proposed(policy, context=OPEN)


def test_random_draws_suggestions_where_the_list_is_open():
    drawn = proposed(Random(Shop()), 2000, context=OPEN)
    assert drawn.count("search[red]") == pytest.approx(1000, abs=100)
    assert drawn.count("search[shoes]") == 2000 - drawn.count("search[red]")
    both = proposed(Random(Shop()), 9, "distinct", context=OPEN)
    assert sorted(both) == ["search[red]", "search[shoes]"]
    assert len(proposed(Random(Shop()), 9, "greedy", context=OPEN)) == 1


def test_suggestions_are_for_open_lists_alone():
    assert set(proposed(Random(Shop()), 50)) == {"a", "b", "c"}
    with pytest.raises(PolicyError, match="finite list"):
        proposed(Random(Shop()), context=Context("Buy red shoes.", "o", legal_actions=()))


def setup_of(policy):
    env = {"name": f"{__name__}:Ruled"}
    return Builder().setup(load_recipe({"env": env, "policy": policy, "value": "uniform"}))


def test_a_recipe_gives_random_its_environment_and_it_is_no_oracle():
    setup = setup_of("random")
    assert setup.policy.env is setup.env and setup.oracles == []
    assert len(proposed(setup.policy, context=OPEN)) == 3


def test_the_rule_is_the_environments_own_unless_a_variant_is_named():
    assert proposed(Rule(Ruled()), 2) == ["the rule"] * 2
    assert proposed(Rule(Ruled(), variant="plain"), 2) == ["plain o"] * 2
    assert proposed(Rule(Shop(), variant="plain"), 3, "greedy") == ["plain o"]


def test_chance_in_a_named_rule_follows_the_seed():
    options = Rule(Shop(), variant="options")
    assert len(set(proposed(options, 5))) == 5
    assert proposed(options, seed=1) == proposed(options, seed=1) != proposed(options, seed=2)


def test_a_recipe_names_the_variant():
    setup = setup_of({"name": "rule", "variant": "plain"})
    assert proposed(setup.policy, 1) == ["plain o"] and setup.oracles == []
    with pytest.raises(ConfigError, match="^policy.variant='option': .* Did you mean 'options'"):
        setup_of({"name": "rule", "variant": "option"})


def test_an_unknown_variant_is_refused_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        Rule(Shop(), variant="plane")
    assert str(caught.value) == (
        "policy.variant='plane': environment 'letters' has no such rule. "
        "Did you mean 'plain'? Rules: plain, options."
    )
    with pytest.raises(ConfigError, match="no such rule. It names none; leave variant out.$"):
        Rule(Letters(), variant="plain")


def test_without_a_rule_it_says_which_variants_there_are():
    with pytest.raises(PolicyError, match="environment 'letters' has no rule.$"):
        proposed(Rule(Letters()))
    with pytest.raises(
        PolicyError, match="no rule. Set policy.variant to one of: plain, options.$"
    ):
        proposed(Rule(Shop()))


def test_the_oracle_policy_reads_the_state():
    env = Letters()
    problem = a_problem(env, OraclePolicy(env))

    async def work():
        [first] = await problem.expand(problem.root, 3)
        lost = await problem.step(first, "c")
        return first.action, list(await problem.expand(lost, 3))

    assert asyncio.run(work()) == ("c", [])


def test_without_an_oracle_there_is_no_action():
    class Plain(Letters):
        oracle = None

    problem = a_problem(Plain(), OraclePolicy(Plain()))
    with pytest.raises(PolicyError, match="environment 'letters' has no oracle"):
        asyncio.run(problem.expand(problem.root, 1))
