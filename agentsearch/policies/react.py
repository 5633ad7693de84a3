"""A policy that thinks before it acts.

Source: Yao et al., 2023, ReAct. The thought is part of the raw text and of the tokens,
so training sees it; the environment is given the action alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentsearch.policies.prompted import Prompted
from agentsearch.policies.prompts import Prompts


@dataclass(frozen=True)
class ThoughtPrompts(Prompts):
    """Prompts whose instruction asks for a thought before the action."""

    instruction: str = (
        "First think about what to do, then act. Reply with two lines:\n"
        "Thought: your reasoning\nAction: the next action"
    )


@dataclass(frozen=True)
class ReAct(Prompted):
    """Ask for `Thought: ...` and `Action: ...`; the last action line counts."""

    prompts: ThoughtPrompts = ThoughtPrompts()
    max_tokens: int = 256
    pattern: str | None = r"(?m)(?s:.*)^[ \t]*[Aa]ction[ \t]*:[ \t]*(\S[^\n]*)"

    def parse(self, text: str) -> str | None:
        """What follows the last `Action:`, or None."""
        return super().parse("\n" + text)
