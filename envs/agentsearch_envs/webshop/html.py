"""WebShop's pages as HTML: the `html` observation, and what the site serves.

The visible text of a page is that of `pages.words`, node by node, and what agents for the
original look for is there: `#search_input`, `#instruction-text`, `.btn`, `.product-link`, radio
inputs with their labels, `#reward`. Pages load nothing; images are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.reward import Reward
from agentsearch_envs.webshop.shop import Shop, State


@dataclass(frozen=True)
class Visit:
    """What the site tells people beside a page.

    Attributes:
        task: index in the split.
        next: index of the next task; None after the last.
        over: whether no step is left.
        reward: of a purchase.
        tagger: who found the nouns that the reward compares.
    """

    split: str
    task: int
    next: int | None
    max_steps: int
    over: bool
    reward: Reward | None
    tagger: str


def page(
    shop: Shop,
    state: State,
    score: float | None = None,
    *,
    action_url: str = "",
    visit: Visit | None = None,
) -> str:
    """The page of a state.

    Args:
        shop: where the state belongs.
        state: what is shown.
        score: of a purchase; None leaves it out.
        action_url: where links and forms lead, with `click` or `search_query` as the first
            field, or `options` before the chosen value of each group.
        visit: for the site; None leaves out its banner, style and script.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    # every name is given to every page: they are cheap, and templates are strict
    return template(state.page).render(
        s=s,
        shop=shop,
        state=state,
        score=score,
        action_url=action_url,
        visit=visit,
        on_site=visit is not None,
        instruction=shop.goals[state.goal].instruction,
        product=shop.product(state) if state.product >= 0 else None,
        pages=pages,
    )


def template(name: str) -> Any:
    """A template of this folder.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    return _templates().get_template(f"{name}.html.j2")


@lru_cache(maxsize=1)
def _templates() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise ConfigError(
            "WebShop's html pages need jinja2: pip install 'agentsearch[envs]'"
        ) from None
    found = Environment(
        loader=PackageLoader("agentsearch_envs.webshop"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters["quoted"] = partial(quote, safe="", errors="replace")  # as no text may fail
    return found
