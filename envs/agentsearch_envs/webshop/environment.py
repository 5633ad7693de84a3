"""WebShop: buy what an instruction asks for, in a shop of thousands of products.

Task: an instruction such as `Find me machine wash men's dress shirts with polyester heathers
    with color: navy, and size: large, and price lower than 40.00 dollars`.
Observation: the page, in one of six modes (see `pages.py`): the original's `text`,
    `text_rich`, `html` and `url`; `react`; and `brief`, the default, which is short and shows
    all that the state holds.
Actions: `search[words]` from any page; `click[label]` of a button, product or option on the
    page, in upper or lower case. Anything else is invalid and leaves the state as it was.
    Legal actions are the clicks; on the index page, where only a search helps, the list is
    open. In `react` mode `think[...]` is a step that is answered `OK.`
Reward: at `Buy Now` only, in [0, 1]: how far type, attributes, options and price of what was
    bought match the goal. Success is a reward of 1. No observation tells it.
Termination: `Buy Now`. Truncation: after max_steps, which the original leaves to its users.
Source: Yao et al., 2022, WebShop (arXiv 2207.01206).
Data: our own generated catalogue, or the original's files in a directory that the user names.
Differences from the original: prices and price limits come from a seeded generator; the noun
    tagger is named and exchangeable; addresses never confuse the page's kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, overload

from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.types import Context, EnvSpec, Step, Task, Trajectory, Verdict
from agentsearch_envs.webshop import goals as g
from agentsearch_envs.webshop import nouns, pages, ranking, rules
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.catalogue import Catalogue, Product
from agentsearch_envs.webshop.files import check, colours, load
from agentsearch_envs.webshop.generated import generated
from agentsearch_envs.webshop.goals import instruction, prompt
from agentsearch_envs.webshop.reward import COLOURS, Reward, best_options
from agentsearch_envs.webshop.shop import Shop, State

Goals = Literal["synthetic", "human"]
THOUGHT = "OK."


@dataclass(frozen=True)
class WebShop:
    """Shopping on generated products, or on the original's.

    Attributes:
        data: directory with the original's files; None generates a catalogue.
        products: how many; None takes all of the files, or generates 1,000.
        catalogue_seed: of the generated catalogue.
        goals: `synthetic`, made from products and their options, or `human`, in the words
            of people (in the generated catalogue: of paraphrases).
        observation: the mode, see `pages.py`.
        price_seed: draws the prices of products with a price range, and the price limits.
        tagger: finds the nouns of titles, which the reward compares: `lexicon`, `words`,
            `spacy`, ...
        max_steps: most actions of an episode.
        show_attributes: whether items have a page with the attributes the reward compares.
        special_searches: whether `<r>`, `<c> category` and `<q> query` mean something.
    """

    data: str | None = None
    products: int | None = None
    catalogue_seed: int = 0
    goals: Goals = "synthetic"
    observation: pages.Mode = "brief"
    price_seed: int = 7
    tagger: str = "lexicon"
    max_steps: int = 15
    show_attributes: bool = False
    special_searches: bool = False

    check_data = staticmethod(check)
    """What `agentsearch data webshop DIR` prints."""

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"env.max_steps={self.max_steps}: must be at least 1.")
        if self.products is not None and self.products < 1:
            raise ConfigError(f"env.products={self.products}: must be at least 1.")
        for name, value, known in (
            ("goals", self.goals, ("synthetic", "human")),
            ("observation", self.observation, pages.MODES),
        ):
            if value not in known:
                raise ConfigError(
                    f"env.{name}={value!r}: no such choice.{did_you_mean(value, known)} "
                    f"Known: {', '.join(known)}."
                )
        nouns.find(self.tagger)

    @cached_property
    def shop(self) -> Shop:
        """Catalogue, search engine and goals: loaded once per process, shared by all states."""
        return open_shop(self)

    @cached_property
    def spec(self) -> EnvSpec:
        """Version 1; a shop cannot take a purchase back, but until then one can go back."""
        about = f"{self.shop.catalogue.name}, {self.goals} goals, nouns by {self.tagger}"
        return EnvSpec("webshop", "1", self.max_steps, True, "template", True, "act", about)

    @property
    def verifier(self) -> WebShopVerifier:
        """Ground truth from the actions alone."""
        return WebShopVerifier(self)

    def oracle(self) -> WebShopOracle:
        """Who knows the product."""
        return WebShopOracle(self)

    def tasks(self, split: str) -> Sequence[Task]:
        """Goals 0-499 of the shuffled order are `test`, 500-1499 `dev`, the rest `train`."""
        if split not in g.SPLITS:
            raise ConfigError(
                f"tasks.split={split!r}: no such split.{did_you_mean(split, g.SPLITS)} "
                f"Splits: {', '.join(g.SPLITS)}."
            )
        return Tasks(self, split, g.split_places(split, len(self.shop.goals)))

    async def reset(self, task: Task, *, seed: int) -> State:
        """The index page; `seed` is not needed."""
        return self.first_state(task)

    def first_state(self, task: Task) -> State:
        """Where a task begins."""
        return State(int(task.data["goal"]))

    async def step(self, state: State, action: str) -> Step[State]:
        """What the action leads to; invalid actions leave the state as it was."""
        return self.take(state, action)

    def take(self, state: State, action: str) -> Step[State]:
        """`step`, for callers that do not wait."""
        after = None if self.over(state) else self.answered(state, action)
        if after is None:
            cut = state.page != s.DONE and self.over(state)
            return Step(state, terminated=state.page == s.DONE, truncated=cut, valid=False)
        bought = after.page == s.DONE
        return Step(
            after,
            self.shop.reward(after).total if bought else 0.0,
            terminated=bought,
            truncated=not bought and after.steps >= self.max_steps,
        )

    def answered(self, state: State, action: str) -> State | None:
        """The state after an action, with ReAct's short answers in its mode."""
        after = self.shop.act(state, action)
        if self.observation != "react":
            return after
        if after is None:
            thinks = action.startswith("think[")
            return state._replace(note=THOUGHT, steps=state.steps + 1) if thinks else None
        parsed, note = s.parse(action), ""
        if parsed is not None and after.page == state.page == s.ITEM:
            note = f"You have clicked {parsed[1]}."
        return after._replace(note=note)

    def over(self, state: State) -> bool:
        """Whether the episode has ended."""
        return state.page == s.DONE or state.steps >= self.max_steps

    def observe(self, state: State) -> str:
        """The page; after a purchase without its score."""
        return pages.observe(self.shop, state, self.observation)

    def legal_actions(self, state: State) -> tuple[str, ...] | None:
        """The clicks, labels as the page writes them; None on the index page."""
        if state.page == s.INDEX:
            return None
        return tuple(f"click[{label}]" for label in self.shop.clicks(state))

    def key(self, state: State) -> Hashable:
        """All that decides what can still be bought: not the steps, nor what was looked at."""
        chosen = tuple(sorted(state.options))
        return state._replace(hits=(), options=chosen, visited=frozenset(), steps=0, note="")

    def answer(self, state: State) -> str:
        """What was bought, for votes."""
        if state.page != s.DONE:
            return ""
        return f"{self.shop.product(state).asin} {pages.options_json(state)}"

    def suggestions(self, context: Context) -> tuple[str, ...]:
        """What may be tried on the index page: a search for the instruction."""
        return (s.search_for(instruction(context.prompt)),)

    def rule(self, context: Context, rng: random.Random) -> str:
        """Search the instruction, take the first product, choose its options, buy."""
        return rules.with_options(context, rng)

    def site(self, *, split: str, task: int) -> Any:
        """The shop as pages for people and browser agents: an ASGI application.

        Raises:
            ConfigError: starlette or jinja2 is not installed.
        """
        try:
            from agentsearch_envs.webshop.site import site
        except ImportError as cause:
            raise ConfigError(
                f"The shop's pages need starlette ({cause}): pip install 'agentsearch[envs]'"
            ) from None
        return site(self, split=split, task=task)

    def rules(self) -> Mapping[str, Callable[[Context, random.Random], str]]:
        """The rule above, and the plain one that buys without choosing options."""
        return {"options": rules.with_options, "plain": rules.plain}


# Loading


def open_shop(env: WebShop) -> Shop:
    """The shop of an environment's settings; products and index are shared where they can be.

    Raises:
        ConfigError: files that are missing or broken, or no goals.
    """
    catalogue, index, words = _catalogue(env.data, env.products, env.catalogue_seed)
    rng = random.Random(env.price_seed)
    prices = g.draw_prices(catalogue.products, rng)
    make = g.synthetic_goals if env.goals == "synthetic" else g.human_goals
    goals = g.in_order(make(catalogue.products, prices, rng))
    if not goals:
        raise ConfigError(
            f"env.goals={env.goals}: catalogue {catalogue.name} has no such goal; "
            "choose the other kind or another catalogue."
        )
    return Shop(
        catalogue,
        index,
        prices,
        goals,
        words,
        nouns.find(env.tagger),
        env.show_attributes,
        env.special_searches,
    )


@lru_cache(maxsize=8)
def _catalogue(
    data: str | None, products: int | None, seed: int
) -> tuple[Catalogue, ranking.Index, tuple[str, ...]]:
    if data is None:
        catalogue, words = generated(seed, products or 1000), COLOURS
    else:
        folder = Path(data).expanduser()
        catalogue, words = load(folder, products), colours(folder) or COLOURS
    return catalogue, ranking.load_or_build(catalogue), words


# Tasks


@dataclass(frozen=True)
class Tasks(Sequence[Task]):
    """The tasks of one split."""

    env: WebShop
    split: str
    places: range

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Task, ...]: ...
    def __getitem__(self, index: int | slice) -> Task | tuple[Task, ...]:
        chosen = self.places[index]
        if isinstance(chosen, int):
            return self._task(chosen)
        return tuple(map(self._task, chosen))

    def _task(self, place: int) -> Task:
        shop = self.env.shop
        data = {"catalogue": shop.catalogue.name, "goals": self.env.goals, "goal": place}
        name = f"webshop/{shop.catalogue.name}/{self.env.goals}/{place}"
        return Task(name, prompt(shop.goals[place].instruction), data)


# Ground truth


@dataclass(frozen=True)
class WebShopVerifier:
    """Buys again and reads the reward."""

    env: WebShop

    async def verify(self, task: Task, trajectory: Trajectory, state: object) -> Verdict:
        """Correct where the purchase pays 1; its credit is what it pays."""
        now = self.env.first_state(task)
        for action in trajectory.actions:
            now = self.env.take(now, action).state
        if now.page != s.DONE:
            return Verdict(False, 0.0, f"nothing bought in {now.steps} steps")
        paid = self.env.shop.reward(now)
        bought = self.env.shop.product(now).asin
        parts = ", ".join(f"{k} {v:.3g}" for k, v in paid.breakdown().items())
        reason = f"{shortcoming(paid)}: bought {bought}, {parts}; nouns by {self.env.tagger}"
        return Verdict(paid.total == 1.0, paid.total, reason)


def shortcoming(paid: Reward) -> str:
    """The first thing that is wrong with a purchase: the product, before its chosen options."""
    if paid.r_type < 1:
        return "wrong type of product"
    if paid.r_att < 1:
        return "attributes not met"
    if not paid.r_price:
        return "price too high"
    if paid.r_option is not None and paid.r_option < 1:
        return "options not met"
    return "as asked"


@dataclass(frozen=True)
class WebShopOracle:
    """Searches the goal's title, takes the goal's product with its best options, buys."""

    env: WebShop

    def action(self, state: object) -> str | None:
        """The next action on the way to the goal's product."""
        assert isinstance(state, State)
        if self.env.over(state):
            return None
        shop = self.env.shop
        goal = shop.goals[state.goal]
        place = shop.catalogue.places[goal.asin]
        match state.page:
            case "index":
                return s.search_for(goal.title)
            case "results":
                if place in shop.shown(state):
                    return f"click[{goal.asin}]"
                later = place in state.hits[state.number * s.PER_PAGE :]
                return f"click[{s.NEXT if later else s.BACK}]"
            case "item" if state.product == place:
                chosen, product = dict(state.options), self._choosable(state)
                for group, value in best_options(product, goal, shop.colours).items():
                    if chosen.get(group) != value:
                        return f"click[{value}]"
                return f"click[{s.BUY}]"
            case _:
                return f"click[{s.PREV}]"

    def _choosable(self, state: State) -> Product:
        """The product with the options that a click can choose, each in its last group."""
        product, clicks = self.env.shop.product(state), set(self.env.shop.clicks(state))
        last = {value: group for group, values in product.options.items() for value in values}
        options = {
            group: tuple(v for v in values if v in clicks and last[v] == group)
            for group, values in product.options.items()
        }
        return replace(product, options=options)

    def value(self, state: object) -> float:
        """What the oracle's way from here pays, within the steps that are left."""
        assert isinstance(state, State)
        while (action := self.action(state)) is not None:
            step = self.env.take(state, action)
            if not step.valid:
                return 0.0
            if step.terminated:
                return step.reward
            state = step.state
        return 0.0
