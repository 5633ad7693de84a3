"""Scores in WebShop, without any search, in the catalogue that is played by default.

Nothing was learnt or tuned in that catalogue (seed 0) or on its goals. The policy writes its
searches freely and is kept to the page's clicks, as policy `scoring` does it: greedily or
drawn at temperature 1. A search that is none ends its episode. Questions to the other roles
come from trips of the demonstrations' shopper.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import mean, pstdev
from typing import Any, NamedTuple

import torch

from agentsearch.types import Context, Turn
from agentsearch_envs.webshop import rules
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.environment import WebShop
from agentsearch_envs.webshop.goals import prompt
from agentsearch_envs.webshop.shop import State
from recipes.tiny.demonstration import WORDS, WORTHS
from recipes.tiny.generate import Chat, ChatModel
from recipes.tiny.settings import Settings
from recipes.tiny.webshop import KINDS, MOST_STEPS, PROMPTS, Shopper, good_query, slip

SEED = 24
"""Of the questions; every model is asked the same."""
GOALS, SAMPLED_GOALS, QUESTIONS = 60, 20, 30
"""At most, of each split and kind of goal."""
ACTION_TOKENS, PLAN_TOKENS, ANSWER_TOKENS = 32, 96, 4
ENVS: Mapping[str, WebShop] = {kind: WebShop(goals=kind) for kind in KINDS}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Visit:
    """A page of an episode.

    Attributes:
        turns: those that led here.
        searches: of each search, whether its first page shows the goal's product.
        paid: the purchase's reward, in [0, 1].
        ended: by a purchase, by the number of steps, or by an action that is none.
    """

    env: WebShop
    state: State
    turns: tuple[Turn, ...] = ()
    searches: tuple[bool, ...] = ()
    paid: float = 0.0
    ended: bool = False

    @property
    def context(self) -> Context:
        """What a policy knows here."""
        env, state = self.env, self.state
        wanted = prompt(env.shop.goals[state.goal].instruction)
        return Context(wanted, env.observe(state), self.turns, env.legal_actions(state))

    def take(self, action: str) -> Visit:
        """The episode after one more action."""
        step, shop = self.env.take(self.state, action), self.env.shop
        turns = (*self.turns, Turn(self.env.observe(self.state), action))
        searches = self.searches
        if self.state.page == s.INDEX:
            target = shop.catalogue.places[shop.goals[self.state.goal].asin]
            found = step.state.page == s.RESULTS and target in shop.shown(step.state)
            searches = (*searches, found)
        ended = step.terminated or step.truncated or not step.valid
        return Visit(self.env, step.state, turns, searches, step.reward, ended)


def starts(split: str, kind: str, count: int) -> list[Visit]:
    """The index pages of a split's first goals."""
    env = ENVS[kind]
    return [Visit(env, env.first_state(task)) for task in env.tasks(split)[:count]]


# The policy

Act = Callable[[Sequence[Visit]], Sequence[str]]
"""An action for every page."""


class Policy:
    """Writes searches and scores clicks; draws with `rng`, else takes the likeliest.

    Equal lists of clicks on equal pages are scored once.
    """

    def __init__(self, model: ChatModel, rng: random.Random | None = None) -> None:
        self.model, self.rng = model, rng
        self.known: dict[Chat, list[float]] = {}

    def __call__(self, visits: Sequence[Visit]) -> list[str]:
        """An action for every page."""
        contexts = [visit.context for visit in visits]
        searches = iter(self.searches([c for c in contexts if c.legal_actions is None]))
        clicks = iter(self.clicks([c for c in contexts if c.legal_actions is not None]))
        return [next(searches if c.legal_actions is None else clicks) for c in contexts]

    def searches(self, contexts: Sequence[Context]) -> list[str]:
        """What the model writes on index pages."""
        chats, greedy = list(map(PROMPTS.propose_messages, contexts)), self.rng is None
        counts = [1] * len(chats)
        replies = self.model.replies(chats, counts, greedy=greedy, max_tokens=ACTION_TOKENS)
        return [text for [text] in replies]

    def clicks(self, contexts: Sequence[Context]) -> list[str]:
        """One of each page's clicks."""
        actions: list[str] = []
        for context, row in zip(contexts, self.shares(contexts), strict=True):
            legal = context.legal_actions or ()
            likeliest = legal[row.index(max(row))]
            actions.append(self.rng.choices(legal, row)[0] if self.rng else likeliest)
        return actions

    def shares(self, contexts: Sequence[Context]) -> list[list[float]]:
        """Probabilities among each page's clicks."""
        chats = [PROMPTS.propose_messages(context) for context in contexts]
        legal = dict(zip(chats, (context.legal_actions or () for context in contexts), strict=True))
        new = [chat for chat in legal if chat not in self.known]
        rows = self.model.own_choice_logprobs(new, [legal[chat] for chat in new])
        self.known.update(
            (chat, row.softmax(-1).tolist()) for chat, row in zip(new, rows, strict=True)
        )
        return [self.known[chat] for chat in chats]


def each(act: Callable[[Visit], str]) -> Act:
    """A policy without a model, which is asked page by page."""
    return lambda visits: list(map(act, visits))


def ruled(rule: Callable[[Context, random.Random], str]) -> Act:
    """A hand-written rule; these draw nothing."""
    return each(lambda visit: rule(visit.context, random.Random(SEED)))


def oracle(visit: Visit) -> str:
    """What who knows the product does."""
    action = visit.env.oracle().action(visit.state)
    assert action is not None
    return action


def play(roots: Sequence[Visit], act: Act) -> list[Visit]:
    """The ends of episodes from every root, played side by side."""
    visits = list(roots)
    while live := [place for place, visit in enumerate(visits) if not visit.ended]:
        actions = act([visits[place] for place in live])
        for place, action in zip(live, actions, strict=True):
            visits[place] = visits[place].take(action)
    return visits


def policy(model: ChatModel, split: str, goals: int, sampled: int) -> dict[str, Any]:
    """The policy alone beside both rules and the oracle, by kind of goal."""
    scores: dict[str, Any] = {}
    for kind in KINDS:
        roots = starts(split, kind, goals)
        drawn = Policy(model, random.Random(f"{SEED}/sampled/{split}/{kind}"))
        played = {
            "greedy": play(roots, Policy(model)),
            "sampled": play(roots[:sampled], drawn),
            "rule": play(roots, ruled(rules.plain)),
            "rule_with_options": play(roots, ruled(rules.with_options)),
            "oracle": play(roots, each(oracle)),
        }
        scores[kind] = {name: summary(ends) for name, ends in played.items()}
    return scores


def summary(ends: Sequence[Visit]) -> dict[str, Any]:
    """What came of episodes: the score and the half-width of its 95 % interval in percent."""
    paid = [end.paid for end in ends]
    searches = [found for end in ends for found in end.searches]
    return {
        "goals": len(ends),
        "score": 100 * mean(paid),
        "score_margin": 100 * 1.96 * pstdev(paid) / math.sqrt(len(paid)),
        "success": sum(reward == 1.0 for reward in paid),
        "mean_steps": mean(len(end.turns) for end in ends),
        "nothing_bought": sum(end.state.page != s.DONE for end in ends),
        "searches": len(searches),
        "searches_that_find": sum(searches),
    }


# Judge, choose, complete


class Asked(NamedTuple):
    """A page that questions are asked about, and who knows what to do there."""

    env: WebShop
    shopper: Shopper
    state: State

    @property
    def context(self) -> Context:
        """What a policy knows here."""
        return Visit(self.env, self.state).context

    @property
    def pays_all(self) -> bool:
        """Whether the item can pay what the goal's own product pays."""
        return self.shopper.pays(self.state.product) >= self.shopper.ceiling

    def follow(self, action: str) -> Asked | None:
        """The page after an action."""
        after = self.env.shop.act(self.state, action)
        return None if after is None else self._replace(state=after)

    def open(self, product: int) -> Asked:
        """The item page of one of the results."""
        asin = self.env.shop.catalogue.products[product].asin
        opened = self.follow(f"click[{asin}]")
        assert opened is not None
        return opened

    def equally_good(self) -> set[str]:
        """Actions that lead as far as the one the shopper wants, that one included."""
        shop, state = self.env.shop, self.state
        actions = {self.shopper.wants(state, "")}
        if state.page == s.RESULTS:
            full = (i for i in shop.shown(state) if self.shopper.pays(i) >= self.shopper.ceiling)
            actions |= {f"click[{shop.catalogue.products[place].asin}]" for place in full}
        elif state.page == s.ITEM and self.pays_all:
            left = set(self.shopper.options(state.product).items()) - set(state.options)
            actions |= {f"click[{value}]" for _, value in left}
        return actions


def results(role: str, split: str, kind: str) -> Iterator[tuple[Asked, random.Random]]:
    """A results page for each goal of a split, in the instruction's words."""
    env = ENVS[kind]
    for place in env.tasks(split).places:  # type: ignore[attr-defined]
        rng, shopper = (
            random.Random(f"{SEED}/{role}/{split}/{kind}/{place}"),
            Shopper(env.shop, place),
        )
        asked = Asked(env, shopper, State(place))
        found = asked.follow(s.search_for(good_query(env.shop, shopper, rng)))
        if found is not None:
            yield found, rng


def pairs(split: str, kind: str) -> Iterator[tuple[Asked, Asked]]:
    """Two items of one results page; the first can pay the goal's ceiling, the other cannot."""
    for page, rng in results("judge", split, kind):
        opened = list(map(page.open, page.env.shop.shown(page.state)))
        full = [item for item in opened if item.pays_all]
        less = [item for item in opened if not item.pays_all]
        if full and less:
            yield rng.choice(full), rng.choice(less)


def chosen(item: Asked) -> Asked:
    """An item page after the options that fit the goal best were clicked."""
    for value in item.shopper.options(item.state.product).values():
        item = item.follow(f"click[{value}]") or item
    return item


def judge(model: ChatModel, split: str, count: int) -> dict[str, Any]:
    """The expected worth of item pages against the label that was learnt."""
    from scipy.stats import spearmanr  # slow to import

    asked = [pair for kind in KINDS for pair in islice(pairs(split, kind), count)]
    items = [item for pair in asked for item in pair] + [chosen(full) for full, _ in asked]
    chats = [PROMPTS.judge_messages(item.context) for item in items]
    shares = model.choice_logprobs(chats, WORDS).softmax(-1)
    worths = (shares @ torch.tensor(WORTHS)).tolist()
    labels = [item.shopper.worth(item.state) for item in items]
    opened = worths[: 2 * len(asked)]
    above = [(a > b) + (a == b) / 2 for a, b in zip(opened[::2], opened[1::2], strict=True)]
    return {
        "pages": len(items),
        "spearman": float(spearmanr(worths, labels).statistic),
        "pairs": len(asked),
        "pays_all_auc": mean(above),
    }


def trips(split: str, kind: str) -> Iterator[tuple[Asked, random.Random]]:
    """A page with clicks for each goal, from a trip of the shopper with all its slips."""
    for page, rng in results("choose", split, kind):
        passed: list[Asked] = []
        now: Asked | None = page
        while (
            now is not None and now.state.page not in (s.INDEX, s.DONE) and len(passed) < MOST_STEPS
        ):
            passed.append(now)
            best = now.shopper.wants(now.state, "")
            now = now.follow(slip(now.env.shop, now.state, best, rng) or best)
        yield rng.choice(passed), rng


def choose(model: ChatModel, split: str, count: int) -> dict[str, Any]:
    """How often the number of the one good click is answered, among two to six."""
    chats: list[Chat] = []
    wanted: list[str] = []
    chance: list[float] = []
    for kind in KINDS:
        for page, rng in islice(trips(split, kind), count):
            best, good = page.shopper.wants(page.state, ""), page.equally_good()
            others = [action for action in page.context.legal_actions or () if action not in good]
            options = [best, *rng.sample(others, min(len(others), rng.randint(1, 5)))]
            rng.shuffle(options)
            chats.append(PROMPTS.choose_messages(page.context, options))
            wanted.append(str(options.index(best) + 1))
            chance.append(1 / len(options))
    replies = model.answers(chats, ANSWER_TOKENS)
    right = sum(reply == want for reply, want in zip(replies, wanted, strict=True))
    return {"questions": len(chats), "right": right, "by_chance": mean(chance)}


def full_items(split: str, kind: str) -> Iterator[Asked]:
    """Item pages, as opened, that can pay the goal's ceiling."""
    for page, _ in results("complete", split, kind):
        best = page.shopper.best_shown(page.state)
        if best is not None:
            yield page.open(best)


def complete(model: ChatModel, split: str, count: int) -> dict[str, Any]:
    """How often a plan written on an item page earns all that the goal can pay."""
    items = [item for kind in KINDS for item in islice(full_items(split, kind), count)]
    chats = [PROMPTS.complete_messages(item.context) for item in items]
    plans = model.answers(chats, PLAN_TOKENS)
    buy = f"click[{s.BUY}]"
    return {
        "pages": len(items),
        "paid_in_full": sum(map(pays_in_full, items, plans)),
        "paid_in_full_at_once": sum(map(partial(pays_in_full, plan=buy), items)),
    }


def pays_in_full(item: Asked, plan: str) -> bool:
    """Whether the plan's lines, carried out one by one, buy for all that the goal can pay."""
    visit = Visit(item.env, item.state)
    for line in plan.split("\n"):
        if not visit.ended:
            visit = visit.take(line)
    return visit.paid >= item.shopper.ceiling


def evaluate(model: ChatModel, settings: Settings) -> dict[str, Any]:
    """All scores on dev and test goals; a profile that asks few puzzles asks few of these."""
    goals, sampled, questions = (
        min(most, settings.eval_puzzles) for most in (GOALS, SAMPLED_GOALS, QUESTIONS)
    )
    return {
        split: {
            "policy": policy(model, split, goals, sampled),
            "judge": judge(model, split, questions),
            "choose": choose(model, split, questions),
            "complete": complete(model, split, questions),
        }
        for split in ("dev", "test")
    }
