"""How a context becomes chat messages: four roles, in one of three styles.

In the style `chat` the system message holds the task and the standing instruction, each
observation is a user message and each action an assistant message, so that the prompt of
a child node extends its parent's. Roles other than proposing append their question to
the last observation, so that in every style all roles share the prefix up to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.policies.styles import BALROG_TURNS, GLAM_TURNS, balrog, glam
from agentsearch.types import Context, Message

STYLES = ("chat", "glam", "balrog")


@dataclass(frozen=True)
class Prompts:
    """The words of the four roles. `{options}` in `choose` is the numbered list.

    Attributes:
        instruction: follows the task in the system message.
        judge: asks whether the task can still be done.
        choose: asks for the number of the best option.
        complete: asks for the remaining actions, one a line.
        examples: pairs of (observation, action), shown before the first observation.
        history: most turns shown, older ones dropped as `segment_start` says. None shows
            all, 0 only the present observation.
        style: `chat`, or as published BabyAI-Text agents have it: `glam` or `balrog`,
            which fix `examples` and `history`; `glam` has no `instruction` either.
    """

    instruction: str = "Reply with the next action only."
    judge: str = "Can the task still be done from here? Reply sure, likely or impossible."
    choose: str = "Which action is best? Reply with its number.\n{options}"
    complete: str = "Reply with all remaining actions, one a line."
    examples: tuple[tuple[str, str], ...] = ()
    history: int | None = None
    style: str = "chat"

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ConfigError(
                f"prompts.style={self.style!r}: no such style.{did_you_mean(self.style, STYLES)} "
                f"Styles: {', '.join(STYLES)}."
            )
        if self.history is not None and self.history < 0:
            raise ConfigError(
                f"prompts.history={self.history}: must be 0 or more, or null to show all turns."
            )
        for name in _FIXED.get(self.style, ()):
            if (given := getattr(self, name)) != getattr(Prompts, name):
                raise ConfigError(
                    f"prompts.{name}={given!r}: style {self.style!r} leaves no choice of it; "
                    "leave it out, or use style=chat."
                )

    def segment_start(self, turns: int) -> int:
        """How many of `turns` past turns are dropped, oldest first.

        With `history=H` they drop (H + 1) // 2 at a time, as often as needed to leave at
        most H. Between two drops, which begin a new segment, prompts only grow. `glam` and
        `balrog` drop one turn at a time, and each of their prompts is a segment of its own.
        """
        if self.style == "glam":
            return max(0, turns - GLAM_TURNS)
        if self.style == "balrog":
            return max(0, turns - BALROG_TURNS)
        if self.history is None or turns <= self.history:
            return 0
        if self.history == 0:
            return turns
        half = (self.history + 1) // 2
        return math.ceil((turns - self.history) / half) * half

    def propose_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message is an action."""
        return self._messages(context)

    def judge_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message judges the present state."""
        return self._messages(context, self.judge)

    def choose_messages(self, context: Context, options: Sequence[str]) -> tuple[Message, ...]:
        """The chat whose next assistant message is the number of an option, from 1."""
        listed = "\n".join(f"{i}: {option}" for i, option in enumerate(options, 1))
        return self._messages(context, self.choose.replace("{options}", listed))

    def complete_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message is the rest of the plan."""
        return self._messages(context, self.complete)

    def _messages(self, context: Context, question: str | None = None) -> tuple[Message, ...]:
        """The chat in this style, `question` after the present observation."""
        turns = context.turns[self.segment_start(len(context.turns)) :]
        prompt, observation = context.prompt, context.observation
        if self.style == "glam":
            return glam(prompt, turns, observation, question)
        if self.style == "balrog":
            return balrog(prompt, turns, observation, self.instruction, question)
        shown = [*self.examples, *((turn.observation, turn.action) for turn in turns)]
        messages = [Message("system", f"{prompt}\n{self.instruction}")]
        for past, action in shown:
            messages += Message("user", past), Message("assistant", action)
        last = observation if question is None else f"{observation}\n{question}"
        return (*messages, Message("user", last))


_FIXED = {
    "glam": ("examples", "history", "instruction"),
    "balrog": ("examples", "history"),
}
"""Fields that a style does not let one choose."""
