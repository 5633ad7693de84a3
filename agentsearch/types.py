"""The values that pass between environments, policies, searches and verifiers.

Everything here is immutable and free of behaviour. One meaning per word: a *value*
guides search, a *reward* comes from the environment, a *score* from a reward model,
a *verdict* from the verifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from agentsearch.budget import Account

S = TypeVar("S")

Cycles = Literal["keep", "prune", "never_return"]
"""What becomes of proposals that lead back to a state of the path to them.

`keep`: nothing. `prune`: dropped where the state lies between the root of the search and
the node. `never_return`: dropped also where the episode itself has been there before.
"""

ProposeMode = Literal["sample", "distinct", "greedy"]
"""How a policy is asked for actions.

`sample`: n independent draws, repeats allowed. `distinct`: up to n different
candidates to branch on, the likeliest first where the policy can rank them.
`greedy`: the single likeliest action.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """One problem to solve. Never carries its answer."""

    id: str
    prompt: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Tokens:
    """Exactly what the model saw and wrote, so that training never re-tokenises.

    Attributes:
        prompt: ids of the rendered prompt.
        ids: ids of the completion, its end-of-turn token included.
        logprobs: natural-log probability of each completion id, at temperature 1
            and without top-p, whatever the sampling was.
        sampled: True where the policy chose the id; False where it was given.
    """

    prompt: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampled: tuple[bool, ...]

    @property
    def logprob(self) -> float:
        """Summed log-probability of the completion."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One action a policy suggests, with where it came from.

    Attributes:
        action: the parsed action; None where the text could not be parsed.
        raw: the text as the model wrote it.
        count: how many samples gave this action.
        logprob: summed log-probability of the first sample, where known.
        prior: probability among all legal actions, where the policy scored them;
            None where actions were sampled, and then the share of samples serves.
        value: expected return after this action, where the same reply told it.
        tokens: token ids of the first sample, where the engine gives them.
        duplicates: tokens of the other samples that gave the same action.
        version: name and weight hash of the policy that wrote it.
    """

    action: str | None
    raw: str
    count: int = 1
    logprob: float | None = None
    prior: float | None = None
    value: float | None = None
    tokens: Tokens | None = None
    duplicates: tuple[Tokens, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """What an environment answers to one action.

    `terminated`: the task itself ended. `truncated`: a limit cut it short. An action
    the environment could not carry out has `valid=False` and leaves the state as it was.
    `replayed`: earlier steps that had to be taken again to get back to the state.
    `stale`: why there was no way back to the state, so that the action was not taken; then
    the step is not `valid`. Empty where there was one.
    """

    state: S
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    valid: bool = True
    replayed: int = 0
    stale: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One observation and the action taken on it."""

    observation: str
    action: str
    reward: float | None = None
    tokens: Tokens | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A path from the start of a task, ending in the observation `final`."""

    task_id: str
    turns: tuple[Turn, ...]
    terminated: bool
    truncated: bool
    final: str = ""

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions in order."""
        return tuple(turn.action for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Scores:
    """A learned judgement: of the whole trajectory and, where given, of each step."""

    outcome: float
    steps: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ground truth about one finished trajectory; `credit` lies in [0, 1]."""

    correct: bool
    credit: float
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """All that a policy or value model may know at one node.

    Attributes:
        prompt: the task's own words.
        turns: observations and actions so far, oldest first; rewards are None
            where search must not see them.
        observation: the present observation.
        legal_actions: the finite list of actions, or None where it is open.
        account: who pays for requests made on this context's behalf.
    """

    prompt: str
    observation: str
    turns: tuple[Turn, ...] = ()
    legal_actions: tuple[str, ...] | None = None
    account: Account | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat: `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One request to an engine: sample `n` completions, or score `choices`.

    Sampled completions end on the model's end-of-turn token. Sample i uses a seed of
    its own, `derive_seed(seed, i)`. With `choices` nothing is generated: each choice is
    closed with the end-of-turn token and its log-probability is returned, in order.

    Attributes:
        temperature: 0 asks for the likeliest token at every place.
        max_tokens: most tokens of one completion.
        stop: text stop strings, for foreign models; such completions are not trainable.
        among: the only texts that a sample may be, where the engine can force it; such
            completions have no log-probabilities, since those left out take no share.
        account: charged for what the request costs; None means nobody pays.
    """

    messages: tuple[Message, ...]
    n: int = 1
    max_tokens: int = 64
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    choices: tuple[str, ...] | None = None
    among: tuple[str, ...] | None = None
    account: Account | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion, or one scored choice.

    Attributes:
        finish: `stop` on an end-of-turn token or stop string, `length` where
            `max_tokens` cut it, `scored` for a choice.
        logprob: summed log-probability at temperature 1, where the engine gives it.
        prompt_tokens, cached_tokens: length of the prompt, and how much of it was
            already computed (the second of n samples shares all of it).
        generated_tokens: tokens sampled, or tokens of the choice.
    """

    text: str
    finish: Literal["stop", "length", "scored"]
    tokens: Tokens | None = None
    logprob: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    version: str = ""


ActionForms = Literal["finite", "template", "open"]


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What an environment is, for records, budgets and the choice of search.

    Attributes:
        max_steps: most actions in an episode.
        reversible: whether a real deployment could go back to an earlier state.
        actions: `finite` lists, `template` (finite but for a free argument), `open`.
        instant: steps never wait for anything, so they are taken one after another
            without starting tasks.
        mode: how it is played unless a recipe says otherwise: `plan` the whole episode,
            or `act` and search again.
        about: what results must name beside the id, such as the data they were made on.
    """

    id: str
    version: str
    max_steps: int
    reversible: bool = True
    actions: ActionForms = "finite"
    instant: bool = True
    mode: Literal["plan", "act"] = "plan"
    about: str = ""


def path_text(actions: Sequence[str]) -> str:
    """The actions of a path on one line, for tables and messages."""
    return " ; ".join(actions)
