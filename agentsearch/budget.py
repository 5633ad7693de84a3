"""What a search may spend, what it has spent, and who pays for a request.

A *call* is one completion or one scored text; scoring a finite list of actions costs
one call plus its tokens. *Tokens* are uncached prompt tokens plus generated tokens. A
request reserves the most it can cost before it is sent, its number of samples is clipped
to what is affordable, and with nothing left `BudgetExhausted` is raised.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

from agentsearch.errors import BudgetExhausted, CannotScore, ConfigError, EngineError, boundary
from agentsearch.journal import Attempt, Question, completions_from, completions_json
from agentsearch.types import Completion, Message, Request

WITHOUT_LIMIT = 1_000_000
"""Iterations allowed where only seconds are limited."""
TEMPLATE_TOKENS = 16
"""Reserved for a chat template's words around a message, where the engine cannot count."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one search; None is unlimited, but one of them must be set.

    Attributes:
        calls: model calls.
        tokens: uncached prompt tokens plus generated tokens.
        env_steps: environment steps, replayed ones too; may overrun by one replay.
        seconds: wall time; may overrun by one request.
        iterations: rounds of the search's own loop. Always finite: a tree whose leaves
            are all terminal spends no calls and would spin for ever. Default: the
            smallest of the other limits.
    """

    calls: int | None = None
    tokens: int | None = None
    env_steps: int | None = None
    seconds: float | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in asdict(self).items() if v is not None}
        if not given:
            raise ConfigError("budget: no limit is set; set at least one, such as budget.calls=100")
        for name, value in given.items():
            if not 0 < value < math.inf:
                raise ConfigError(
                    f"budget.{name}={value}: must be more than 0 and finite; "
                    "leave it out for no limit."
                )

    @property
    def finite_iterations(self) -> int:
        """The iteration limit, never infinite."""
        if self.iterations is not None:
            return self.iterations
        counts = [n for n in (self.calls, self.tokens, self.env_steps) if n is not None]
        return min(counts, default=WITHOUT_LIMIT)


@dataclass(slots=True)
class Usage:
    """What was spent, and what went wrong along the way.

    `prompt_tokens` includes `cached_tokens`. `requests` are messages to an engine, of
    which each may hold several calls. `parse_failures` and `invalid_actions` count
    proposals that became no node; `truncations` completions cut by `max_tokens`;
    `stale` are states that could not be reached again, whose branches were dropped;
    `judgments` are judgments or choices that a model was asked to write, `fallbacks` those
    that could not be read.
    """

    calls: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    env_steps: int = 0
    replayed_steps: int = 0
    seconds: float = 0.0
    parse_failures: int = 0
    invalid_actions: int = 0
    truncations: int = 0
    stale: int = 0
    judgments: int = 0
    fallbacks: int = 0

    @property
    def tokens(self) -> int:
        """Uncached prompt tokens plus generated tokens: what a budget counts."""
        return self.prompt_tokens - self.cached_tokens + self.generated_tokens

    def add(self, other: Usage) -> None:
        """Add every count of `other` to this one."""
        for name in _USAGE_FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_dict(self) -> dict[str, Any]:
        """Every count by name, and `tokens`."""
        return {**asdict(self), "tokens": self.tokens}


_USAGE_FIELDS = tuple(f.name for f in fields(Usage))


class Budget:
    """The running account of one search: limits, usage and what is reserved.

    Iterating yields 0, 1, 2, ... until a limit is reached:

        for _ in problem.budget:
            ...one round of the search...

    Args:
        limits: what may be spent.
        finishing_steps: actions the policy alone may still need once the search stops.
            A call for each is kept back, at most a tenth of the calls but one at least
            where a single action is needed, and a tenth of the tokens, so that a search
            cut short leaves enough to go on. `free_reserve` gives it to the search, which
            `Problem` does as soon as the tree itself holds an ending or that many actions.
        replies: what engines answered to a search of the same task, used before asking.
        attempt: whose clock tells the seconds.
    """

    __slots__ = (
        "_attempt",
        "_from",
        "calls_limit",
        "finishing_steps",
        "iterations",
        "limits",
        "out_of_iterations",
        "replies",
        "reserved_calls",
        "reserved_tokens",
        "tokens_limit",
        "usage",
    )

    def __init__(
        self,
        limits: Limits,
        finishing_steps: int = 0,
        replies: Replies | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        self.limits = limits
        self.finishing_steps = finishing_steps
        self.replies = replies
        self.calls_limit, self.tokens_limit = _less_reserve(limits, finishing_steps)
        self.usage = Usage()
        self.iterations = 0
        self.out_of_iterations = False  # whether one more was asked for than there are
        self.reserved_calls = 0
        self.reserved_tokens = 0
        self._attempt = attempt or Attempt("")
        self._from = self._attempt.seconds

    def __iter__(self) -> Iterator[int]:
        limit = self.limits.finite_iterations
        while self.iterations < limit and self.exhausted() is None:
            self.iterations += 1
            yield self.iterations - 1
        self.out_of_iterations = self.iterations >= limit

    @property
    def seconds(self) -> float:
        """Wall time since the budget was made."""
        return self._attempt.seconds - self._from

    def free_reserve(self) -> None:
        """Spend what was kept back for finishing, too."""
        self.calls_limit, self.tokens_limit = self.limits.calls, self.limits.tokens

    def exhausted(self) -> BudgetExhausted | None:
        """The first limit that is reached, if any. Iterations are not counted here."""
        limits, usage = self.limits, self.usage
        if self.calls_limit is not None and usage.calls >= self.calls_limit:
            return BudgetExhausted("calls", usage.calls, self.calls_limit)
        if self.tokens_limit is not None and usage.tokens >= self.tokens_limit:
            return BudgetExhausted("tokens", usage.tokens, self.tokens_limit)
        if limits.env_steps is not None and usage.env_steps >= limits.env_steps:
            return BudgetExhausted("env_steps", usage.env_steps, limits.env_steps)
        if limits.seconds is not None and self.seconds >= limits.seconds:
            return BudgetExhausted("seconds", self.seconds, limits.seconds)
        return None

    def reserve(self, calls: int, prompt_tokens: int = 0, max_tokens: int = 0) -> int:
        """Set aside what `calls` completions can cost, or as many as are affordable.

        Args:
            calls: completions wanted, at least 1.
            prompt_tokens: tokens of the prompt they share.
            max_tokens: most tokens of each completion.

        Returns:
            How many calls are granted: 1 to `calls`. Give them back with `release`.

        Raises:
            BudgetExhausted: not even one is affordable.
        """
        spent = self.exhausted()
        if spent is not None:
            raise spent
        granted, usage = calls, self.usage
        if self.calls_limit is not None:
            granted = min(granted, self.calls_limit - usage.calls - self.reserved_calls)
            if granted < 1:
                used = usage.calls + self.reserved_calls
                raise BudgetExhausted("calls", used, self.calls_limit)
        if self.tokens_limit is not None:
            used = usage.tokens + self.reserved_tokens
            left = self.tokens_limit - used - prompt_tokens
            if max_tokens:
                granted = min(granted, left // max_tokens)
            if granted < 1 or left < 0:
                raise BudgetExhausted("tokens", used, self.tokens_limit)
        self.reserved_calls += granted
        self.reserved_tokens += prompt_tokens + granted * max_tokens
        return granted

    def release(self, granted: int, prompt_tokens: int = 0, max_tokens: int = 0) -> None:
        """Give back a reservation, once its real cost is charged."""
        self.reserved_calls -= granted
        self.reserved_tokens -= prompt_tokens + granted * max_tokens

    def charge_env_step(self, steps: int = 1) -> None:
        """Count environment steps.

        Raises:
            BudgetExhausted: the limit of environment steps is already reached.
        """
        limit, used = self.limits.env_steps, self.usage.env_steps
        if limit is not None and used + steps > limit:
            raise BudgetExhausted("env_steps", used, limit)
        self.usage.env_steps += steps

    def charge_replayed(self, steps: int) -> None:
        """Count steps taken again to get back to a state; known only afterwards.

        A limit of environment steps may overrun by the last of these.
        """
        self.usage.env_steps += steps
        self.usage.replayed_steps += steps


def _less_reserve(limits: Limits, steps: int) -> tuple[int | None, int | None]:
    """Calls and tokens that are left to a search which must leave enough for `steps` actions."""
    calls, tokens = limits.calls, limits.tokens
    if calls is not None:
        calls -= 1 if steps == 1 else min(steps, calls // 10)
    if tokens is not None and steps:
        tokens -= tokens // 10
    return calls, tokens


class Replies:
    """What engines answered in one search, for the same search at a smaller budget.

    A request that differs only in its number of samples is the same: sample i has a seed
    of its own, so the first n of more samples are what asking for n gives.

    Attributes:
        asked: calls that were made because no answer was known.
    """

    __slots__ = ("_known", "_last", "_started", "_waited", "asked")

    def __init__(self, known: Replies | None = None) -> None:
        self._known: dict[_Question, tuple[list[Completion], float]] = (
            {} if known is None else dict(known._known)
        )
        self._started = time.perf_counter()
        self._last = 0.0  # when the last answer used had come, in the search that asked
        self._waited = 0.0  # for answers that were not known
        self.asked = 0

    @property
    def seconds(self) -> float:
        """Until the last answer used had come, and what was waited for besides."""
        return self._last + self._waited

    def find(self, engine: object, request: Request) -> list[Completion] | None:
        """The answer to `request`, if one of as many samples is known."""
        completions, came = self._known.get(_question(engine, request), ([], 0.0))
        wanted = len(request.choices) if request.choices else request.n
        if len(completions) < wanted:
            return None
        self._last = max(self._last, came)
        return completions[:wanted]

    def keep(
        self, engine: object, request: Request, completions: list[Completion], waited: float
    ) -> None:
        """Remember an answer that took `waited` seconds."""
        came = time.perf_counter() - self._started
        self._known[_question(engine, request)] = completions, came
        self._waited += waited
        self.asked += 1 if request.choices else request.n


_Question = tuple[int, Request]


def _question(engine: object, request: Request) -> _Question:
    return id(engine), replace(request, n=0, account=None)


class Account:
    """Charges one reply to a budget and keeps what that reply cost on its own.

    Args:
        budget: what is charged.
        attempt, node, role, draw: what the reply is about, for the journal.
    """

    __slots__ = ("_about", "_attempt", "budget", "usage")

    def __init__(
        self,
        budget: Budget,
        attempt: Attempt | None = None,
        node: int = 0,
        role: str = "",
        draw: int = 0,
    ) -> None:
        self.budget = budget
        self.usage = Usage()
        self._attempt = attempt
        self._about = node, role, draw

    def question(self, asked: object) -> Question | None:
        """The journal's place for the next thing asked; None where there is no journal."""
        return None if self._attempt is None else self._attempt.question(*self._about, asked)

    def charge_calls(self, calls: int) -> None:
        """Count calls of a policy or model that has no engine."""
        for usage in (self.usage, self.budget.usage):
            usage.calls += calls
            usage.requests += 1

    def charge(self, completions: Sequence[Completion], calls: int) -> None:
        """Count the completions of one request to an engine."""
        for usage in (self.usage, self.budget.usage):
            usage.calls += calls
            usage.requests += 1
            for completion in completions:
                usage.prompt_tokens += completion.prompt_tokens
                usage.cached_tokens += completion.cached_tokens
                usage.generated_tokens += completion.generated_tokens
                usage.truncations += completion.finish == "length"

    def count(self, kind: str, number: int = 1) -> None:
        """Add to one of the counts of failures, such as `fallbacks`."""
        for usage in (self.usage, self.budget.usage):
            setattr(usage, kind, getattr(usage, kind) + number)


class _Engine(Protocol):
    async def generate(self, request: Request) -> list[Completion]: ...

    async def close(self) -> None: ...


class Metered:
    """An engine whose requests are reserved, clipped and charged to their account.

    Every engine that a policy or value model receives from the runner is wrapped in one,
    so that neither can forget to count.
    """

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self._scores: bool | None = None

    @property
    def version(self) -> str:
        """Name and weight hash of the model, where the engine knows it."""
        return str(getattr(self.engine, "version", ""))

    async def generate(self, request: Request) -> list[Completion]:
        """Send the request with as many samples as its account can pay.

        Raises:
            BudgetExhausted: not even one call is affordable.
            EngineError: the engine failed, or nobody would pay.
        """
        account = request.account
        if account is None:
            raise EngineError(
                "The request carries no account to charge; pass account=context.account."
            )
        question = account.question(request)
        known = None if question is None else question.find()
        budget = account.budget
        if known is not None:
            return self._answered(known, request, account)
        cost = self._most(request, budget)
        try:
            granted = budget.reserve(1 if request.choices else request.n, *cost)
        except BudgetExhausted as spent:
            if question is not None:  # so that a resumed search stops here, too
                await question.keep({"exhausted": [spent.kind, spent.used, spent.limit]})
            raise
        try:
            if not request.choices and granted < request.n:
                request = replace(request, n=granted)
            completions = await self._answer(request, budget.replies, question, granted)
            account.charge(completions, granted)
        finally:
            budget.release(granted, *cost)
        return completions

    async def can_score(self) -> bool:
        """Whether the engine gives log-probabilities of given text; asked once, for free."""
        if self._scores is None:
            try:
                await self._send(Request((Message("user", "Hello"),), choices=("Hello",)))
                self._scores = True
            except CannotScore:
                self._scores = False
        return self._scores

    async def close(self) -> None:
        """Close the engine below."""
        await self.engine.close()

    async def _answer(
        self, request: Request, replies: Replies | None, question: Question | None, granted: int
    ) -> list[Completion]:
        """From another search of the task, else from the engine, and then recorded."""
        completions = None if replies is None else replies.find(self.engine, request)
        if completions is not None:
            return completions
        asked = time.perf_counter()
        completions = await self._send(request)
        if question is not None:
            await question.keep({"calls": granted, **completions_json(completions)})
        if replies is not None:
            replies.keep(self.engine, request, completions, time.perf_counter() - asked)
        return completions

    def _answered(
        self, known: dict[str, Any], request: Request, account: Account
    ) -> list[Completion]:
        """What an earlier process was answered, charged as it was then."""
        if "exhausted" in known:
            raise BudgetExhausted(*known["exhausted"])
        completions, calls = completions_from(known), known["calls"]
        if account.budget.replies is not None:
            granted = request if request.choices else replace(request, n=calls)
            account.budget.replies.keep(self.engine, granted, completions, 0.0)
        account.charge(completions, calls)
        return completions

    async def _send(self, request: Request) -> list[Completion]:
        with boundary(EngineError, "generate"):
            return await self.engine.generate(request)

    def _most(self, request: Request, budget: Budget) -> tuple[int, int]:
        """Most prompt tokens, and most tokens a call, that the request can cost."""
        if budget.limits.tokens is None:
            return 0, 0
        most = getattr(self.engine, "most_tokens", None)
        if most is not None:
            return most(request)
        prompt = sum(
            len(m.content.encode("utf-8", "surrogatepass")) + TEMPLATE_TOKENS
            for m in request.messages
        )
        if request.choices:
            return prompt, sum(
                len(choice.encode("utf-8", "surrogatepass")) + 1 for choice in request.choices
            )
        return prompt, request.max_tokens
