"""The model card, written from the settings and the evaluation so that no number can drift.

Its words are in `card.md.jinja`, its tables in `card_tables.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recipes.tiny import babyai, card_tables, webshop
from recipes.tiny.settings import HERE, Settings

TEMPLATES = Environment(
    loader=FileSystemLoader(HERE),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def card(settings: Settings, evaluation: Mapping[str, Any]) -> str:
    """The card's text."""
    words = facts(settings, evaluation) | tables(settings, evaluation)
    return TEMPLATES.get_template("card.md.jinja").render(words)


def facts(settings: Settings, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What the template names, but for the tables."""
    from agentsearch_envs.babyai_levels import HELD_OUT  # loads minigrid

    training = evaluation["training"]
    pages = settings.webshop_pages * training["processes"]
    seeds = webshop.CATALOGUES["train"]
    return {
        "name": evaluation["name"],
        "babyai": "babyai_text" in evaluation,
        "webshop": "webshop" in evaluation,
        "millions": round(evaluation["parameters"] / 1e6, 1),
        "init": settings.init,
        "before": evaluation.get("compared", {}).get("with"),
        "vocab": settings.vocab_size,
        "context": settings.max_positions,
        "steps": training["steps"],
        "rows": training["sequences"] // training["steps"],
        "sequences": training["sequences"],
        "wall": training["wall_minutes"],
        "cpu": training["cpu_minutes"],
        "seed": training["seed"],
        "planned": settings.planned_steps,
        "cooldown": settings.cooldown_steps,
        "first": settings.steps,
        "restart": max(0, training["steps"] - settings.steps),
        "again_babyai_share": f"{settings.at(settings.steps).babyai_share:.0%}",
        "switches": " and ".join(str(step) for step in settings.shares if step),
        "babyai_episodes": f"{settings.babyai_episodes:,}",
        "babyai_share": f"{settings.babyai_share:.0%}",
        "discount": settings.discount,
        "held_out": ", ".join(HELD_OUT),
        "history": babyai.HISTORY,
        "turns": f"{babyai.HISTORY} past turn" + ("s" if babyai.HISTORY > 1 else ""),
        "pages": pages,
        "all_pages": pages * training["steps"],
        "webshop_episodes": f"{settings.webshop_episodes:,}",
        "webshop_seeds": f"{seeds[0]} to {seeds[-1]}",
        "webshop_dev_seed": webshop.CATALOGUES["dev"][0],
        "most_steps": webshop.MOST_STEPS,
        "eased": webshop.EASED,
        "results_worth": webshop.RESULTS_WORTH,
        "nothing_worth": webshop.NOTHING_WORTH,
        "start_worth": webshop.START_WORTH,
    }


def tables(settings: Settings, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of what was evaluated, each ended by a newline."""
    found: dict[str, Any] = {
        "roles": card_tables.roles(settings),
        "game24_table": card_tables.game24_table(evaluation["game24"]),
    }
    compared = evaluation.get("compared", {})
    for name, env in (("compared_game24", "game24"), ("compared_babyai", "babyai_text")):
        found[name] = card_tables.compared_table(compared[env]) if env in compared else ""
    if scores := evaluation.get("babyai_text"):
        of_splits = {name: scores[name]["policy"] for name in card_tables.SPLITS}
        found["babyai_tables"] = {k: card_tables.babyai_table(v) for k, v in of_splits.items()}
        found["babyai_role_table"] = card_tables.babyai_role_table(scores)
    if scores := evaluation.get("webshop"):
        of_splits = {name: scores[name]["policy"] for name in card_tables.SPLITS}
        found["webshop_tables"] = {k: card_tables.webshop_table(v) for k, v in of_splits.items()}
        found["webshop_role_table"] = card_tables.webshop_role_table(scores)
    return found
