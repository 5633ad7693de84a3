"""What a policy sends, and what it reads in a reply."""

import asyncio

import pytest

from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import ConfigError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.react import ReAct
from agentsearch.types import Context, Turn

ENGINE = ScriptedEngine(replies=["go"])
TURNS = (Turn("hall", "go north"), Turn("yard", "go east"))
CONTEXT = Context("Find the key.", "shed", TURNS)


def chat(prompts, ask="propose_messages", *args):
    return [(m.role, m.content) for m in getattr(prompts, ask)(CONTEXT, *args)]


def proposed(policy=Prompted, reply="go", mode="sample", n=3, **fields):
    """The proposals, and the request they came from."""
    asked = []
    engine = ScriptedEngine(lambda request, i: asked.append(request) or reply)
    made = asyncio.run(policy(engine, **fields).propose(CONTEXT, n, seed=9, mode=mode))
    return made, asked[0]


def test_observations_and_actions_alternate():
    assert chat(Prompts(instruction="Act.")) == [
        ("system", "Find the key.\nAct."),
        ("user", "hall"),
        ("assistant", "go north"),
        ("user", "yard"),
        ("assistant", "go east"),
        ("user", "shed"),
    ]


def test_a_childs_prompt_extends_its_parents():
    parent = Prompts().propose_messages(Context("Find the key.", "yard", TURNS[:1]))
    assert Prompts().propose_messages(CONTEXT)[: len(parent)] == parent


@pytest.mark.parametrize("role", ["judge_messages", "complete_messages", "choose_messages"])
def test_every_role_shares_the_prompt_up_to_its_question(role):
    args = (["left", "right"],) if role == "choose_messages" else ()
    *before, (who, last) = chat(Prompts(), role, *args)
    assert before == chat(Prompts())[:-1]
    assert who == "user" and last.startswith("shed\n")


def test_options_are_numbered_from_one():
    assert chat(Prompts(), "choose_messages", ["left {x}", "right"])[-1][1].endswith(
        "Reply with its number.\n1: left {x}\n2: right"
    )


@pytest.mark.parametrize(
    ("history", "first"), [(None, "hall"), (1, "yard"), (0, "shed"), (9, "hall")]
)
def test_old_turns_drop_whole(history, first):
    assert chat(Prompts(history=history))[1] == ("user", first)


def test_examples_come_before_the_first_observation():
    assert chat(Prompts(examples=(("pit", "climb"),)))[1:4] == [
        ("user", "pit"),
        ("assistant", "climb"),
        ("user", "hall"),
    ]


def test_samples_are_asked_for_at_once():
    made, request = proposed(temperature=0.7, top_p=0.9, max_tokens=5, stop=("\n",))
    assert len(made) == 3
    assert (request.n, request.seed, request.stop, request.max_tokens) == (3, 9, ("\n",), 5)
    assert (request.temperature, request.top_p) == (0.7, 0.9)


def test_greedy_is_one_reply_at_temperature_0():
    made, request = proposed(mode="greedy", temperature=0.7)
    assert len(made) == 1 and (request.n, request.temperature) == (1, 0.0)


@pytest.mark.parametrize(
    ("reply", "action"),
    [("go up", "go up"), ("\n  go up  \nand on", "go up"), ("", None), (" \n\t\n", None)],
)
def test_the_first_line_that_is_not_empty_is_the_action(reply, action):
    [proposal] = proposed(reply=reply, n=1)[0]
    assert (proposal.action, proposal.raw) == (action, reply)


def test_a_pattern_finds_the_action():
    read = Prompted(ENGINE, pattern=r"<(.*?)>").parse
    assert [read("so <go> <stay>"), read("go"), read("< >")] == ["go", None, None]


def test_a_group_that_matches_nothing_is_no_action():
    read = Prompted(ENGINE, pattern=r"act:(?: (\w+))?").parse
    assert [read("act: go"), read("act:")] == ["go", None]


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("Thought: up?\nAction: go up", "go up"),
        ("Action: a\nThought: no\nAction: b \nmore", "b"),
        ("action :  go", "go"),
        ("Thought: only", None),
        ("Action:\ngo", None),
        ("My Action: go", None),
    ],
)
def test_react_takes_the_last_action_line(reply, action):
    assert ReAct(ENGINE).parse(reply) == action


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": -1.0}, "policy.temperature=-1.0"),
        ({"temperature": float("nan")}, "policy.temperature=nan"),
        ({"top_p": 0.0}, "policy.top_p=0.0"),
        ({"top_p": 1.1}, "policy.top_p=1.1"),
        ({"max_tokens": 0}, "policy.max_tokens=0"),
        ({"pattern": "("}, "policy.pattern='\\('"),
        ({"pattern": "go"}, "policy.pattern='go': has no group"),
    ],
)
def test_impossible_settings_are_refused(fields, named):
    with pytest.raises(ConfigError, match=f"^{named}"):
        Prompted(ENGINE, **fields)
