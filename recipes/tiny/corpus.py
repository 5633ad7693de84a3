"""Text for the tokenizer: every kind that the built-in model will meet, from templates.

Each generator takes a `random.Random` and returns one document. Nothing is copied from
a data set: words come from `words.py`, brands are made of syllables, numbers are drawn.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from recipes.tiny import words as w


def brand(rng: random.Random) -> str:
    """A made-up brand or surname."""
    return "".join(rng.choice(w.SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()


def inflected(verb: str, rng: random.Random) -> str:
    """The verb in one of its regular forms."""
    stem = verb[:-1] if verb.endswith("e") else verb
    return rng.choice((verb, verb, verb, verb + "s", stem + "ing", stem + "ed"))


def plural(noun: str, rng: random.Random) -> str:
    """The noun, half of the time with an s."""
    return noun if rng.random() < 0.5 or noun.endswith("s") else noun + "s"


def sentence(rng: random.Random) -> str:
    """Loose English: right word kinds in a plausible order."""
    pick = rng.choice
    parts: list[str] = []
    for _ in range(rng.randint(1, 3)):
        noun = plural(pick(w.NOUNS + w.PRODUCTS), rng)
        parts += [pick(w.FUNCTION_WORDS), pick(w.ADJECTIVES), noun]
        parts += [pick(w.FUNCTION_WORDS), inflected(pick(w.VERBS), rng), pick(w.FUNCTION_WORDS)]
        if rng.random() < 0.3:
            parts.append(pick(w.FIRST_NAMES + w.CITIES))
        if rng.random() < 0.2:
            parts[-1] += ","
    text = " ".join(parts)
    return text[0].upper() + text[1:] + pick((".", ".", ".", "?", "!", ":"))


def instructions(rng: random.Random) -> str:
    """Plain instructions of the kind that stand in system messages."""
    pick = rng.choice
    lines = [
        f"Reply with the next {pick(w.NOUNS)} only.",
        f"You are a {pick(w.ADJECTIVES)} assistant. {pick(w.VERBS).capitalize()} the "
        f"{pick(w.ADJECTIVES)} {pick(w.NOUNS)}, then {pick(w.VERBS)} it.",
        "Can the task still be done from here? Reply sure, likely or impossible.",
        "Which action is best? Reply with its number.",
        "Reply with all remaining actions, one a line.",
        f"Use each {pick(w.NOUNS)} once. Do not {pick(w.VERBS)} the {pick(w.NOUNS)}; "
        f"don't {pick(w.VERBS)} it, and it's {pick(w.ADJECTIVES)}.",
        sentence(rng),
        sentence(rng),
    ]
    return "\n".join(rng.sample(lines, k=rng.randint(2, 5)))


def game24(rng: random.Random) -> str:
    """Words around Game of 24 episodes (numbers need no examples, see `tokenizer.py`)."""
    text = [
        "Use the four numbers and + - * / to reach 24. Each number is used exactly once.",
        "Each action takes two of the numbers and puts back the result, such as 13 - 9.",
    ]
    for _ in range(3):
        numbers = " ".join(str(rng.randint(1, 13)) for _ in range(4))
        text.append(f"Numbers: {numbers}")
        text.append(f"{rng.randint(1, 99)} {rng.choice('+-*/')} {rng.randint(1, 13)}")
    return "\n".join((*text, rng.choice(("sure", "likely", "impossible"))))


def grid_object(rng: random.Random) -> str:
    """A coloured thing of a grid world."""
    return f"{rng.choice(w.GRID_COLOURS)} {rng.choice(w.MISSION_OBJECTS)}"


def grid_mission(rng: random.Random) -> str:
    """A mission in the manner of BabyAI."""
    a, b = grid_object(rng), grid_object(rng)
    one = rng.choice(
        (
            f"go to the {a}",
            f"go to a {a}",
            f"pick up the {a}",
            f"pick up a {a}",
            f"open the {rng.choice(w.GRID_COLOURS)} door",
            f"put the {a} next to the {b}",
            f"go to the {a} on your left",
            f"pick up the {a} in front of you",
            "open the door behind you",
        )
    )
    if rng.random() < 0.3:
        one += rng.choice((", then ", " after you ", " and ")) + grid_mission(rng)
    return one


def steps(count: int) -> str:
    """`1 step` or `3 steps`."""
    return f"{count} step{'' if count == 1 else 's'}"


def grid_world(rng: random.Random) -> str:
    """A few turns of a text grid world."""
    lines = [
        f"Goal of the agent: {grid_mission(rng)}",
        "Possible actions: " + ", ".join(w.GRID_ACTIONS),
    ]
    for _ in range(rng.randint(2, 5)):
        side, ahead = rng.choice(("left", "right")), steps(rng.randint(1, 9))
        lines.append(
            rng.choice(
                (
                    f"You see a {grid_object(rng)} {steps(rng.randint(1, 9))} {side} "
                    f"and {ahead} forward",
                    f"You see a {grid_object(rng)} {ahead} forward",
                    f"You see a wall {ahead} {rng.choice(('left', 'right', 'forward'))}",
                    f"You see a {rng.choice(('closed', 'open', 'locked'))} "
                    f"{rng.choice(w.GRID_COLOURS)} door {ahead} {side}",
                    f"You carry a {grid_object(rng)}",
                    "You are in a room. You carry nothing.",
                )
            )
        )
        lines.append(rng.choice(w.GRID_ACTIONS))
    return "\n".join(lines)


def product_title(rng: random.Random) -> str:
    """A shop title: brand, adjectives, material, product, colour, size."""
    pick = rng.choice
    parts = [brand(rng), pick(("Women's", "Men's", "Kids'", "Unisex", "")), pick(w.ADJECTIVES)]
    parts += [pick(w.COLOURS), pick(w.MATERIALS), plural(pick(w.PRODUCTS), rng)]
    if rng.random() < 0.5:
        parts += ["with", pick(w.ADJECTIVES), plural(pick(w.PRODUCTS + w.NOUNS), rng)]
    if rng.random() < 0.5:
        parts += ["for", pick(w.NOUNS), "and", pick(w.NOUNS)]
    if rng.random() < 0.4:
        parts.append(f"({rng.randint(1, 99)} {pick(w.UNITS)})")
    text = " ".join(part for part in parts if part)
    return text.title().replace("'S", "'s") if rng.random() < 0.7 else text


def product_code(rng: random.Random) -> str:
    """A product code such as B07K2M9XQ1."""
    return "B0" + "".join(rng.choice("0123456789ABCDEFGHJKLMNPQRSTVWXYZ") for _ in range(8))


def price(rng: random.Random) -> str:
    """A price such as $12.99."""
    return f"${rng.randint(1, 300)}.{rng.choice(('99', '95', '49', '0', '00', '5'))}"


def shop_request(rng: random.Random) -> str:
    """What the customer asks for."""
    pick = rng.choice
    return (
        f"{pick(('i need', 'i am looking for', 'find me', 'i want', 'i would like'))} "
        f"{pick(('a', 'some', 'a pair of'))} {pick(w.ADJECTIVES)} {pick(w.MATERIALS)} "
        f"{plural(pick(w.PRODUCTS), rng)} that is {pick(w.ADJECTIVES)}, color {pick(w.COLOURS)}, "
        f"size {pick(w.SIZES)}, and price lower than {rng.randint(1, 20)}0.00 dollars"
    )


def shop(rng: random.Random) -> str:
    """A shop page and the actions on it."""
    pick, page = rng.choice, ["Instruction:", shop_request(rng), "Back to Search"]
    kind = rng.randrange(3)
    if kind == 0:
        page += [f"Page {rng.randint(1, 5)} (Total results: {rng.randint(1, 50)})", "Next >"]
        for _ in range(4):
            page += [product_code(rng), product_title(rng), price(rng)]
    elif kind == 1:
        page += ["< Prev", "color", *rng.sample(w.COLOURS, 4), "size", "small", "medium", "large"]
        page += ["x-large", product_title(rng), f"Price: {price(rng)}", "Rating: N.A."]
        page += ["Description", "Features", "Reviews", "Attributes", "Buy Now"]
    else:
        page += ["< Prev", f"{sentence(rng)} {pick(w.MATERIALS)} {sentence(rng)}", "Search"]
    action = pick((product_code(rng).lower(), "Buy Now", "Next >", "< Prev", pick(w.COLOURS)))
    query = f"search[{pick(w.ADJECTIVES)} {pick(w.COLOURS)} {pick(w.PRODUCTS)}]"
    return " [SEP] ".join(page) + f"\n{pick((query, f'click[{action}]', 'click[back to search]'))}"


def api_name(rng: random.Random) -> str:
    """A function name in one of the usual spellings."""
    verb, noun = rng.choice(w.API_VERBS), rng.choice(w.API_NOUNS)
    return rng.choice(
        (f"{verb}_{noun}", f"{verb}{noun.capitalize()}", f"{verb}_{noun}_by_id", verb)
    )


def json_value(rng: random.Random) -> object:
    """An argument of a tool call."""
    return rng.choice(
        (
            rng.choice(w.CITIES),
            rng.choice(w.FIRST_NAMES),
            f"{rng.choice(w.NOUNS)}.{rng.choice(('txt', 'csv', 'json', 'pdf', 'py', 'md'))}",
            f"20{rng.randint(10, 30)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            f"{rng.choice(w.NOUNS)}_{rng.randint(1, 999)}",
            sentence(rng),
            rng.randint(0, 1000),
            round(rng.uniform(0, 500), 2),
            True,
            False,
            None,
            [rng.choice(w.NOUNS), rng.choice(w.NOUNS)],
        )
    )


def tool_schema(rng: random.Random) -> dict[str, object]:
    """The JSON schema of a function."""
    names = rng.sample(w.API_NOUNS + w.NOUNS, k=rng.randint(1, 4))
    fields = {
        name: {"type": rng.choice(w.TYPES), "description": sentence(rng), "default": None}
        for name in names
    }
    parameters = {"type": "object", "properties": fields, "required": names[:1]}
    inner = {"name": api_name(rng), "description": sentence(rng), "parameters": parameters}
    return {"type": "function", "function": inner}


def tool_use(rng: random.Random) -> str:
    """Schemas, calls and results as JSON."""
    lines = ["# Tools", "<tools>", json.dumps(tool_schema(rng)), "</tools>"]
    for _ in range(rng.randint(1, 3)):
        names = rng.sample(w.API_NOUNS + w.NOUNS, k=rng.randint(1, 3))
        arguments = {name: json_value(rng) for name in names}
        call = json.dumps({"name": api_name(rng), "arguments": arguments})
        lines += ["<tool_call>", call, "</tool_call>"]
        result = {rng.choice(w.NOUNS): json_value(rng), "status": rng.choice(("success", "error"))}
        lines.append(rng.choice((json.dumps(result), "Error during execution: " + sentence(rng))))
        lines.append(f"[{api_name(rng)}({names[0]}='{rng.choice(w.NOUNS)}')]")
    return "\n".join(lines)


def crafting(rng: random.Random) -> str:
    """Household and crafting worlds."""
    pick = rng.choice
    return "\n".join(
        (
            f"craft {rng.randint(1, 8)} {pick(w.COLOURS)} {pick(w.NOUNS)} using "
            f"{rng.randint(1, 8)} {pick(w.COLOURS)} {pick(w.NOUNS)}",
            f"get {rng.randint(1, 8)} {pick(w.MATERIALS)} {pick(w.NOUNS)}",
            f"Inventory: [{pick(w.NOUNS)}] ({rng.randint(1, 64)})",
            f"You arrive at the {pick(w.PRODUCTS)} {rng.randint(1, 9)}. On it, you see a "
            f"{pick(w.PRODUCTS)} {rng.randint(1, 9)} and nothing else.",
            f"take {pick(w.PRODUCTS)} {rng.randint(1, 9)} from "
            f"{pick(w.PRODUCTS)} {rng.randint(1, 9)}",
            "Could not find enough items. Nothing happens.",
        )
    )


KINDS: tuple[tuple[Callable[[random.Random], str], int], ...] = (
    (game24, 2),
    (grid_world, 4),
    (shop, 8),
    (tool_use, 4),
    (instructions, 5),
    (crafting, 2),
)
"""Generators with their weights in the corpus."""


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents of all kinds; the same seed gives the same text."""
    rng = random.Random(seed)
    makers = [maker for maker, _ in KINDS]
    weights = [weight for _, weight in KINDS]
    for maker in rng.choices(makers, weights, k=count):
        yield maker(rng)
