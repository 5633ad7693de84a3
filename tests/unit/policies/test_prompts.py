"""Windows of history, and the styles of published agents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsearch.config import Builder, load_recipe
from agentsearch.errors import ConfigError
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.react import ReAct, ThoughtPrompts
from agentsearch.types import Context, Turn

TASK = "Goal: go to the green ball\nActions: turn left, turn right, go forward"
SEEN = [
    "You carry a blue key\nYou see a wall 3 steps forward",
    "You see a green ball 2 steps left and 1 step forward",
    "You see a open red door 1 step right",
    "You see a wall 1 step left",
]
DONE = ["turn left", "go forward", "go forward"]
TURNS = tuple(map(Turn, SEEN, DONE))
CONTEXT = Context(TASK, SEEN[3], TURNS)


def after(turns: int) -> Context:
    """An episode of which so many turns are over."""
    past = tuple(Turn(f"seen {i}", f"done {i}") for i in range(turns))
    return Context(TASK, f"seen {turns}", past)


# -- history ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "starts"),
    [
        (None, [0, 0, 0, 0, 0, 0, 0, 0]),
        (0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (1, [0, 0, 1, 2, 3, 4, 5, 6]),
        (2, [0, 0, 0, 1, 2, 3, 4, 5]),
        (3, [0, 0, 0, 0, 2, 2, 4, 4]),
        (4, [0, 0, 0, 0, 0, 2, 2, 4]),
    ],
)
def test_where_a_segment_starts(history, starts):
    assert [Prompts(history=history).segment_start(turns) for turns in range(8)] == starts


@given(st.none() | st.integers(0, 12), st.integers(0, 60))
def test_at_most_the_history_is_shown_and_inside_a_segment_prompts_only_grow(history, turns):
    prompts = Prompts(history=history)
    now, later = prompts.segment_start(turns), prompts.segment_start(turns + 1)
    if history is not None:
        assert min(turns, (history + 1) // 2) <= turns - now <= history
    before = prompts.propose_messages(after(turns))
    longer = prompts.propose_messages(after(turns + 1))
    assert len(before) == 2 + 2 * (turns - now)
    assert now <= later and (longer[: len(before)] == before) == (now == later)


def test_a_negative_history_is_refused():
    with pytest.raises(ConfigError, match="^prompts.history=-1: must be 0 or more, or null"):
        Prompts(history=-1)


# -- styles ----------------------------------------------------------------------------

GLAM = (
    "Possible action of the agent: turn left, turn right, go forward"
    " \n Goal of the agent: go to the green ball"
    " \n Observation 0: You see a green ball 2 steps left and 1 step forward, "
    "\n Action 0: go forward"
    " \n Observation 1: You see a open red door 1 step right, "
    "\n Action 1: go forward"
    " \n Observation 2: You see a wall 1 step left, "
)

BALROG_SYSTEM = """\
You are in a world of rooms seen as text. Your goal is to go to the green ball.

Your actions, and what each does:
turn left: a quarter turn to the left
turn right: a quarter turn to the right
go forward: move to the next cell ahead, if it is free

Reply with the next action only."""


def test_glam_is_one_text_with_the_last_three_observations():
    [message] = Prompts(style="glam").propose_messages(CONTEXT)
    assert (message.role, message.content) == ("user", GLAM + "\n Action 2: ")


def test_glam_closes_every_sentence_with_a_comma():
    [message] = Prompts(style="glam").propose_messages(Context(TASK, SEEN[0]))
    assert message.content.endswith(
        "ball \n Observation 0: You carry a blue key, You see a wall 3 steps forward, \n Action 0: "
    )


def test_balrog_is_a_chat_without_you_see():
    assert [(m.role, m.content) for m in Prompts(style="balrog").propose_messages(CONTEXT)] == [
        ("system", BALROG_SYSTEM),
        ("user", "Observation:\nYou carry a blue key\na wall 3 steps forward"),
        ("assistant", "turn left"),
        ("user", "Observation:\na green ball 2 steps left and 1 step forward"),
        ("assistant", "go forward"),
        ("user", "Observation:\na open red door 1 step right"),
        ("assistant", "go forward"),
        ("user", "Current Observation:\na wall 1 step left"),
    ]


def test_balrog_shows_sixteen_observations():
    system, *chat = Prompts(style="balrog").propose_messages(after(40))
    assert system.role == "system" and [m.role for m in chat[::2]] == ["user"] * 16
    assert chat[0].content == "Observation:\nseen 25"


@pytest.mark.parametrize(("style", "shown"), [("glam", 2), ("balrog", 15)])
def test_the_windows_of_published_styles_slide_by_one(style, shown):
    prompts = Prompts(style=style)
    starts = [prompts.segment_start(turns) for turns in range(shown + 3)]
    assert starts == [0] * (shown + 1) + [1, 2]


def test_an_action_without_a_meaning_stands_alone():
    [system, _] = Prompts(style="balrog").propose_messages(
        Context("Goal: rest\nActions: sit, toggle\nMore words.", "a chair")
    )
    assert "\nsit\ntoggle: open or close" in system.content


@pytest.mark.parametrize("style", ["chat", "glam", "balrog"])
def test_in_every_style_a_question_follows_the_present_observation(style):
    prompts = Prompts(style=style, judge="Well?", choose="Which?\n{options}", complete="Rest?")
    *before, last = prompts.propose_messages(CONTEXT)
    shared = last.content.removesuffix("\n Action 2: ")
    gap = "\n " if style == "glam" else "\n"
    for asked, question in [
        (prompts.judge_messages(CONTEXT), "Well?"),
        (prompts.choose_messages(CONTEXT, ["stay", "go"]), "Which?\n1: stay\n2: go"),
        (prompts.complete_messages(CONTEXT), "Rest?"),
    ]:
        assert [*asked[:-1]] == before
        assert (asked[-1].role, asked[-1].content) == ("user", f"{shared}{gap}{question}")


@pytest.mark.parametrize("style", ["glam", "balrog"])
def test_a_task_without_goal_and_actions_is_named(style):
    with pytest.raises(ConfigError, match=f"^prompts.style={style}: needs a task .* 'Make 24.'"):
        Prompts(style=style).propose_messages(Context("Make 24.", "4 6"))


def test_an_unknown_style_gets_a_suggestion():
    with pytest.raises(ConfigError, match="^prompts.style='galm': no such style. .*'glam'"):
        Prompts(style="galm")


@pytest.mark.parametrize(
    ("style", "field"),
    [
        ("glam", {"history": 3}),
        ("glam", {"instruction": "Act."}),
        ("glam", {"examples": (("pit", "climb"),)}),
        ("balrog", {"history": 3}),
        ("balrog", {"examples": (("pit", "climb"),)}),
    ],
)
def test_what_a_style_fixes_cannot_be_set(style, field):
    with pytest.raises(ConfigError, match=f"^prompts.{next(iter(field))}=.*style '{style}'"):
        Prompts(style=style, **field)


def test_balrog_takes_another_instruction():
    system = Prompts(style="balrog", instruction="Act.").propose_messages(CONTEXT)[0]
    assert system.content.endswith("is free\n\nAct.")


# -- recipes ---------------------------------------------------------------------------

RECIPE = {"env": "game24", "policy": "scoring", "value": "votes"}


def parts(*overrides):
    setup = Builder().setup(load_recipe(RECIPE, overrides))
    return setup.policy, setup.value


def test_a_recipe_chooses_the_style_of_policy_and_value():
    policy, value = parts("policy.prompts.style=glam", "value.prompts.style=balrog")
    assert (policy.prompts, value.prompts) == (Prompts(style="glam"), Prompts(style="balrog"))
    with pytest.raises(ConfigError, match="Did you mean 'balrog'"):
        parts("value.prompts.style=barlog")


def test_react_keeps_its_instruction_when_another_word_is_set():
    policy, _ = parts("policy=react", "policy.prompts.history=2")
    assert isinstance(policy, ReAct) and policy.prompts == ThoughtPrompts(history=2)
    assert "Thought: " in policy.prompts.instruction
