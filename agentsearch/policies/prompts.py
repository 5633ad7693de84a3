"""How a context becomes chat messages: one template, four roles.

The system message holds the task and the standing instruction, each observation is a
user message and each action an assistant message, so that the prompt of a child node
extends its parent's. Roles other than proposing append their question to the last
observation, so that all roles share the prefix up to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentsearch.types import Context, Message


@dataclass(frozen=True)
class Prompts:
    """The words of the four roles. `{options}` in `choose` is the numbered list.

    Attributes:
        instruction: follows the task in the system message.
        judge: asks whether the task can still be done.
        choose: asks for the number of the best option.
        complete: asks for the remaining actions, one a line.
        examples: pairs of (observation, action), shown before the first observation.
        history: most turns shown; older ones are dropped. None shows all.
    """

    instruction: str = "Reply with the next action only."
    judge: str = "Can the task still be done from here? Reply sure, likely or impossible."
    choose: str = "Which action is best? Reply with its number.\n{options}"
    complete: str = "Reply with all remaining actions, one a line."
    examples: tuple[tuple[str, str], ...] = ()
    history: int | None = None

    def propose_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message is an action."""
        return (*self._past(context), Message("user", context.observation))

    def judge_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message judges the present state."""
        return self._ask(context, self.judge)

    def choose_messages(self, context: Context, options: Sequence[str]) -> tuple[Message, ...]:
        """The chat whose next assistant message is the number of an option, from 1."""
        listed = "\n".join(f"{i}: {option}" for i, option in enumerate(options, 1))
        return self._ask(context, self.choose.replace("{options}", listed))

    def complete_messages(self, context: Context) -> tuple[Message, ...]:
        """The chat whose next assistant message is the rest of the plan."""
        return self._ask(context, self.complete)

    def _ask(self, context: Context, question: str) -> tuple[Message, ...]:
        last = Message("user", f"{context.observation}\n{question}")
        return (*self._past(context), last)

    def _past(self, context: Context) -> tuple[Message, ...]:
        messages = [Message("system", f"{context.prompt}\n{self.instruction}")]
        for observation, action in self.examples:
            messages += Message("user", observation), Message("assistant", action)
        turns = context.turns
        if self.history is not None:
            turns = turns[max(0, len(turns) - self.history) :]
        for turn in turns:
            messages += Message("user", turn.observation), Message("assistant", turn.action)
        return tuple(messages)
