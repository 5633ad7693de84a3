"""How published BabyAI-Text agents wrote their prompts, kept so that their numbers compare.

    glam      one text: actions, goal, the last 3 observations with the actions between
    balrog    a chat: mission and actions first, then the last 16 observations

Both read the mission and the actions from the task's prompt, whose first lines must be
`Goal: ...` and `Actions: ..., ...`, and take one sentence a line from each observation.
Sources: Carta et al., 2023, Grounding large language models in interactive environments
with online reinforcement learning (GLAM); Paglieri et al., 2024, BALROG.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentsearch.errors import ConfigError
from agentsearch.types import Message, Turn

GLAM_TURNS = 2
"""Past turns that `glam` shows: 3 observations with the present one."""
BALROG_TURNS = 15
"""Past turns that `balrog` shows: 16 observations with the present one."""

MEANINGS = {
    "turn left": "a quarter turn to the left",
    "turn right": "a quarter turn to the right",
    "go forward": "move to the next cell ahead, if it is free",
    "pick up": "take what lies directly ahead",
    "drop": "put down what you carry, directly ahead",
    "toggle": "open or close what is directly ahead; a locked door needs its key",
}
"""What the actions of BabyAI do, in the words of `balrog`."""

_HEAD = re.compile(r"Goal: (?P<mission>.+)\nActions: (?P<actions>.+)")


def glam(
    prompt: str, turns: Sequence[Turn], observation: str, question: str | None = None
) -> tuple[Message, ...]:
    """One user message that ends where the next action, or the question's answer, belongs.

    Observations are numbered from 0 within the window. The text follows the original to
    the letter, its spaces at the ends of lines included.
    """
    mission, actions = mission_and_actions(prompt, "glam")
    text = f"Possible action of the agent: {', '.join(actions)} \n Goal of the agent: {mission}"
    for i, turn in enumerate(turns):
        text += f"{_glam_observation(i, turn.observation)}\n Action {i}: {turn.action}"
    text += _glam_observation(len(turns), observation)
    text += f"\n Action {len(turns)}: " if question is None else f"\n {question}"
    return (Message("user", text),)


def balrog(
    prompt: str,
    turns: Sequence[Turn],
    observation: str,
    instruction: str,
    question: str | None = None,
) -> tuple[Message, ...]:
    """A system message with mission, actions and `instruction`, then the alternating chat.

    The present observation has another heading than past ones.
    """
    mission, actions = mission_and_actions(prompt, "balrog")
    listed = "\n".join(f"{a}: {MEANINGS[a]}" if a in MEANINGS else a for a in actions)
    messages = [
        Message(
            "system",
            f"You are in a world of rooms seen as text. Your goal is to {mission}.\n\n"
            f"Your actions, and what each does:\n{listed}\n\n{instruction}",
        )
    ]
    for turn in turns:
        messages.append(Message("user", f"Observation:\n{_without_you_see(turn.observation)}"))
        messages.append(Message("assistant", turn.action))
    present = f"Current Observation:\n{_without_you_see(observation)}"
    messages.append(Message("user", present if question is None else f"{present}\n{question}"))
    return tuple(messages)


def mission_and_actions(prompt: str, style: str) -> tuple[str, list[str]]:
    """What the first two lines of a task's prompt say.

    Raises:
        ConfigError: the prompt does not begin with them, so `style` is not for this task.
    """
    head = _HEAD.match(prompt)
    if head is None:
        raise ConfigError(
            f"prompts.style={style}: needs a task whose prompt begins with the lines 'Goal: ...' "
            f"and 'Actions: ...', but it begins {prompt[:40]!r}; use style=chat."
        )
    return head["mission"], head["actions"].split(", ")


def _glam_observation(i: int, observation: str) -> str:
    sentences = "".join(f"{sentence}, " for sentence in observation.splitlines())
    return f" \n Observation {i}: {sentences}"


def _without_you_see(observation: str) -> str:
    return observation.replace("You see ", "")
