"""WebShop as a site, for people and for agents that drive a browser.

    app = site(WebShop(), split="dev", task=0)      # then any ASGI server

A session is a list of states that only grows, and a page's address is its session and its
place in that list: the back button leads to an earlier state, and acting there branches off.
`/fixed_N` begins task N, like the original's address for goal N. The page after a purchase
shows the reward: an agent that learns must not be shown it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from secrets import token_hex
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.html import Visit, page, template
from agentsearch_envs.webshop.shop import State

if TYPE_CHECKING:
    from agentsearch_envs.webshop.environment import WebShop

GOALS = 10
"""Listed at once."""
MAX_PAGES = 200
"""Different states of a session."""
MAX_QUERY = 8192
"""Bytes after the `?` of an address."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def site(
    env: WebShop,
    *,
    split: str,
    task: int,
    max_sessions: int = 200,
    timeout_s: float = 1800.0,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The shop of an environment as an ASGI application.

    Args:
        env: whose shop, tasks and limit of steps are used.
        split: whose tasks are offered.
        task: index in the split; listed first.
        max_sessions: most sessions open at once; the longest unused one makes room.
        timeout_s: seconds without a request after which a session ends.
        clock: seconds that only grow.

    Raises:
        ConfigError: a task that the split does not have, or jinja2 is not installed.
    """
    count = len(env.tasks(split))
    if not 0 <= task < count:
        raise ConfigError(f"task={task}: split {split!r} has {count:,} tasks, counted from 0.")
    served = Site(env, split, task, Sessions(max_sessions, timeout_s, clock))
    template("base")  # say at once that jinja2 is missing
    return Starlette(
        routes=[
            Route("/", served.front),
            Route("/style.css", file("style.css", "text/css")),
            Route("/site.js", file("site.js", "text/javascript")),
            Route("/fixed_{task}", served.start),
            Route("/{session}/{number}", served.visit),
        ],
        exception_handlers={HTTPException: message},
    )


# Sessions


@dataclass(slots=True)
class Session:
    """What one visitor has seen.

    Attributes:
        task: index in the split.
        states: in the order in which they were first reached.
        used: when it was last asked for.
    """

    task: int
    states: list[State]
    used: float


class Sessions:
    """The open sessions by name, the longest unused one first."""

    def __init__(self, most: int, timeout_s: float, clock: Callable[[], float]) -> None:
        self.most = most
        self.timeout_s = timeout_s
        self.clock = clock
        self.open: dict[str, Session] = {}

    def begin(self, task: int, state: State) -> str:
        """Open a session and return its name."""
        self.expire()
        while len(self.open) >= self.most:
            del self.open[next(iter(self.open))]
        name = token_hex(8)
        self.open[name] = Session(task, [state], self.clock())
        return name

    def find(self, name: str) -> Session | None:
        """The session, which is then in use until now; None where there is none, or no more."""
        self.expire()
        session = self.open.pop(name, None)
        if session is not None:
            session.used = self.clock()
            self.open[name] = session
        return session

    def expire(self) -> None:
        """Drop the sessions that nobody has used for long."""
        oldest = self.clock() - self.timeout_s
        for name in [name for name, session in self.open.items() if session.used < oldest]:
            del self.open[name]


# Pages


@dataclass(frozen=True)
class Site:
    """What answers requests."""

    env: WebShop
    split: str
    task: int
    sessions: Sessions

    async def front(self, request: Request) -> Response:
        """Some goals to begin with."""
        tasks = self.env.tasks(self.split)
        asked = index(request.query_params.get("first", ""))
        first = self.task if asked is None else min(asked, len(tasks) - 1)
        shown = range(first, min(first + GOALS, len(tasks)))
        shop = self.env.shop
        return html(
            template("front").render(
                on_site=True,
                visit=None,
                split=self.split,
                catalogue=shop.catalogue.name,
                count=len(tasks),
                goals=[
                    (i, shop.goals[self.env.first_state(tasks[i]).goal].instruction) for i in shown
                ],
                first=first,
                before=max(0, first - GOALS) if first else None,
                after=shown.stop if shown.stop < len(tasks) else None,
            )
        )

    async def start(self, request: Request) -> Response:
        """Open a session with a task."""
        tasks, task = self.env.tasks(self.split), index(request.path_params["task"])
        if task is None or task >= len(tasks):
            raise HTTPException(404, f"The {self.split} split has goals 0 to {len(tasks) - 1:,}.")
        name = self.sessions.begin(task, self.env.first_state(tasks[task]))
        return redirect(f"/{name}/0")

    async def visit(self, request: Request) -> Response:
        """Show a state, or take the action that the query asks for and go where it leads."""
        name, number = request.path_params["session"], index(request.path_params["number"])
        session = self.sessions.find(name)
        if session is None or number is None or number >= len(session.states):
            minutes = self.sessions.timeout_s / 60
            raise HTTPException(
                404, f"This visit has ended: visits end {minutes:g} minutes after their last page."
            )
        state = session.states[number]
        if not request.url.query:
            return html(self.shown(session, state, f"/{name}/{number}"))
        if len(request.url.query) > MAX_QUERY:
            raise HTTPException(414, "That is too long; ask for it in fewer words.")
        for action in actions(request.query_params.multi_items(), dict(state.options)):
            state = self.env.take(state, action).state
        if state not in session.states:
            if len(session.states) >= MAX_PAGES:
                raise HTTPException(429, "This visit has seen too many pages; begin another.")
            session.states.append(state)
        return redirect(f"/{name}/{session.states.index(state)}")

    def shown(self, session: Session, state: State, action_url: str) -> str:
        """The page of a state, with what people are told beside it."""
        env, count = self.env, len(self.env.tasks(self.split))
        paid = env.shop.reward(state) if state.page == s.DONE else None
        visit = Visit(
            split=self.split,
            task=session.task,
            next=session.task + 1 if session.task + 1 < count else None,
            max_steps=env.max_steps,
            over=env.over(state),
            reward=paid,
            tagger=env.tagger,
        )
        score = None if paid is None else paid.total
        return page(env.shop, state, score, action_url=action_url, visit=visit)


def index(text: str) -> int | None:
    """A number in an address; None where it is none."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def actions(fields: Sequence[tuple[str, str]], chosen: Mapping[str, str]) -> Iterable[str]:
    """The actions that a form's fields stand for.

    Args:
        fields: names and values; the first says which form it is.
        chosen: the options that are chosen already, by group.
    """
    match fields:
        case [("search_query", words), *_]:
            # an action's name ends at its last `[`; search engines read both alike
            yield f"search[{words.replace('[', ' ')}]"
        case [("click", label), *_]:
            yield f"click[{label}]"
        case [("options", _), *values]:
            yield from (f"click[{value}]" for group, value in values if chosen.get(group) != value)
        case _:
            return


# Replies


def html(text: str, status: int = 200) -> Response:
    """A page; half a surrogate pair, which no encoding has, becomes a question mark."""
    body = text.encode("utf-8", errors="replace")
    return Response(body, status, HEADERS, media_type="text/html")


def redirect(address: str) -> Response:
    """Where to look next."""
    return RedirectResponse(address, 303, HEADERS)


def file(name: str, media_type: str) -> Callable[[Request], Response]:
    """The endpoint of a file beside the templates."""
    folder = resources.files("agentsearch_envs.webshop").joinpath("templates")
    body = folder.joinpath(name).read_bytes()

    def endpoint(request: Request) -> Response:
        return Response(body, headers=HEADERS, media_type=media_type)

    return endpoint


async def message(request: Request, error: Exception) -> Response:
    """What is wrong with a request, and the way back to the goals."""
    assert isinstance(error, HTTPException)
    text = template("message").render(on_site=True, visit=None, title="Not here", text=error.detail)
    reply = html(text, error.status_code)
    reply.headers.update(error.headers or {})
    return reply
