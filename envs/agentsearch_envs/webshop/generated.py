"""A catalogue of our own: as many products and goals as wanted, from a seed.

Products come in families of one type that share most of their words and differ in one or two
attributes, in price or in options, so that only the right attribute, option or price finds
the one that was asked for. All words are in `vocabulary`; none is taken from the original.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import vocabulary as words
from agentsearch_envs.webshop.catalogue import Catalogue, build
from agentsearch_envs.webshop.vocabulary import Kind

VERSION = "1"
"""Raised whenever a seed's products change; part of the digest."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
APOSTROPHE_S = "'s"
PARTS = ("before", "with", "for", "use", "noun", "brand")
"""Of a title, after its beginning."""
FEWEST_WORDS, MOST_WORDS = 7, 18
"""Of a title."""
MOST_COMBINATIONS = 40
"""Of a product's option values, each of which makes a synthetic goal."""
CENTS = (0.99, 0.99, 0.99, 0.95, 0.49, 0.0)
FACTORS = (0.8, 0.9, 1.0, 1.0, 1.1, 1.25, 1.6, 2.2, 3.0)
"""Price of a product over the usual price of its family."""

ROLES = (
    {phrase: "before" for phrase in words.BEFORE}
    | {phrase: "with" for phrase in words.WITH}
    | {phrase: "for" for phrase in words.FOR}
)
RIVALS = {phrase: i for i, group in enumerate(words.CONTRARY) for phrase in group}
ACRONYMS = {"Usb": "USB", "Bpa": "BPA", "Gmo": "GMO", "Hd": "HD", "Led": "LED", "Fm": "FM"}
CAPITALS = {
    phrase: " ".join(ACRONYMS.get(word, word) for word in phrase.title().split())
    for phrase in ROLES
}
"""Phrases as titles write them."""
GAPS = re.compile(r"(, and|,| and)$")
VOWEL_SOUNDS = ("a", "e", "i", "o", "8", "11 ", "18")


@dataclass(frozen=True, slots=True)
class Records:
    """Products, attributes and people's instructions in the original's three layouts."""

    products: list[dict[str, Any]]
    attributes: dict[str, dict[str, Any]]
    human: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Family:
    """What near-duplicates share.

    Attributes:
        nouns: what their titles call them, and a second name.
        ending: of their titles, such as a pack size; may be empty.
        names_option: titles end in one of the product's option values instead.
        order: in which the parts of the title follow each other.
        separator: between these parts.
        leading: how many phrases stand before the noun.
        words: in a title, at most.
        bare: phrases stand without `with`.
        shouts: phrases stand in capital letters.
        attributes: of the family's typical product.
        shown: phrases that a title names if there is room.
        options: all values of the family by group.
    """

    kind: Kind
    brand: str
    style: str
    nouns: tuple[str, str]
    use: str
    ending: str
    names_option: bool
    order: tuple[str, ...]
    separator: str
    leading: int
    words: int
    bare: bool
    shouts: bool
    attributes: tuple[str, ...]
    shown: frozenset[str]
    options: tuple[tuple[str, tuple[str, ...]], ...]
    price: float


def generated(seed: int = 0, count: int = 1000) -> Catalogue:
    """The generated catalogue of a seed, with `count` products.

    Raises:
        ConfigError: if `count` is below 1.
    """
    made = records(seed, count)
    name = f"generated-{seed}" if count == 1000 else f"generated-{seed}-{count}"
    return build(name, digest(made), made.products, made.attributes, made.human)


def digest(made: Records) -> str:
    """Hash of all that was made: the seed alone would not tell a changed word list."""
    whole = hashlib.sha256()
    for part in (made.products, made.attributes, made.human):
        whole.update(json.dumps(part).encode())
    return whole.hexdigest()


def write(folder: Path, seed: int = 0, count: int = 1000) -> None:
    """Write the catalogue as files in the original's layout."""
    made = records(seed, count)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("items_shuffle.json", made.products),
        ("items_ins_v2.json", made.attributes),
        ("items_human_ins.json", made.human),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def records(seed: int = 0, count: int = 1000) -> Records:
    """Products of a seed in their official order, with everything known about them.

    Raises:
        ConfigError: if `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"count is {count}, but a catalogue has at least 1 product; raise it.")
    made = Records([], {}, {})
    order = random.Random(f"webshop {VERSION} {seed} order")
    for family, rng in families(seed):
        for _ in range(min(rng.randint(3, 8), count - len(made.products))):
            add_product(made, family, rng)
        if len(made.products) == count:
            break
    order.shuffle(made.products)
    return made


def families(seed: int) -> Iterator[tuple[Family, random.Random]]:
    """Families without end, each with a random generator of its own; types take turns."""
    turns = random.Random(f"webshop {VERSION} {seed} kinds")
    number = 0
    while True:
        for kind in turns.sample(words.KINDS, len(words.KINDS)):
            rng = random.Random(f"webshop {VERSION} {seed} family {number}")
            number += 1
            yield new_family(kind, rng), rng


def new_family(kind: Kind, rng: random.Random) -> Family:
    """What all products of a family of this type will share."""
    low, high = kind.price
    attributes = consistent(rng.sample(kind.attributes, len(kind.attributes)), rng.randint(3, 6))
    groups = rng.sample(kind.options, min(len(kind.options), rng.choice((0, 1, 1, 1, 2, 2, 3))))
    first, second = rng.sample(kind.nouns, 2)
    options = tuple((name, offer(words.VALUES[values], rng)) for name, values in groups)
    ending = rng.choice(words.PACKS[kind.category]) if rng.random() < 0.4 else ""
    return Family(
        kind=kind,
        brand=brand(rng),
        style=rng.choice(kind.styles),
        nouns=(owned(kind, first, rng), second),
        use=rng.choice(kind.uses),
        ending=ending,
        names_option=rng.random() < 0.5,
        order=tuple(rng.sample(PARTS, len(PARTS))),
        separator=rng.choice((", ", ", ", ", ", " - ", " | ", " ")),
        leading=rng.randrange(3),
        words=int(rng.triangular(9, MOST_WORDS + 1, MOST_WORDS)),
        bare=rng.random() < 0.4,
        shouts=rng.random() < 0.1,
        attributes=attributes,
        shown=frozenset(phrase for phrase in kind.attributes if rng.random() < 0.9),
        options=options,
        price=math.exp(rng.uniform(math.log(low), math.log(high))),
    )


def owned(kind: Kind, noun: str, rng: random.Random) -> str:
    """`noun` of men's and women's types, mostly with the owner before it."""
    owner, found, _ = kind.query.partition("'s ")
    if not found or rng.random() < 0.2:
        return noun
    return f"{owner.title()}{rng.choice((APOSTROPHE_S, 's'))} {noun}"


def brand(rng: random.Random) -> str:
    """An invented name."""
    if rng.random() < 0.2:
        return f"{rng.choice(words.BRAND_HEADS)} {rng.choice(words.BRAND_TAILS)}"
    name = rng.choice(words.BRAND_STARTS) + rng.choice(words.BRAND_MIDDLES)
    name += rng.choice(words.BRAND_ENDS)
    return name.upper() if rng.random() < 0.3 else name


def offer(values: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """The values that a family knows, in the order of their list."""
    some = set(rng.sample(values, min(len(values), rng.randint(4, 8))))
    return tuple(value for value in values if value in some)


def consistent(phrases: Sequence[str], count: int, keep: Sequence[str] = ()) -> tuple[str, ...]:
    """`keep` and then the first phrases that contradict nothing before, `count` in all."""
    found = list(keep)
    rivals = {RIVALS[phrase] for phrase in keep if phrase in RIVALS}
    for phrase in phrases:
        if len(found) == count:
            break
        rival = RIVALS.get(phrase)
        if phrase not in found and rival not in rivals:
            found.append(phrase)
            if rival is not None:
                rivals.add(rival)
    return tuple(found)


def add_product(made: Records, family: Family, rng: random.Random) -> None:
    """One more product of a family."""
    kind = family.kind
    asin = "B0" + "".join(rng.choices(LETTERS, k=8))
    while asin in made.attributes:
        asin = "B0" + "".join(rng.choices(LETTERS, k=8))
    attributes = vary(family, rng)
    options = offered(family, rng)
    ending = family.ending
    if family.names_option and options:
        ending = rng.choice(next(iter(options.values())))
    name = title(family, [phrase for phrase in attributes if phrase in family.shown], ending)
    bullets, description = texts(family, name.lower(), attributes, rng)
    product: dict[str, Any] = {
        "asin": asin,
        "name": name,
        "category": kind.category,
        "query": kind.query,
        "product_category": kind.path,
        "full_description": description,
        "small_description": bullets,
        "customization_options": {
            group: [{"value": value} for value in values] for group, values in options.items()
        }
        or "",
        "images": [""],
        "average_rating": "",
        "page": 1,
        "pricing": price(family, rng),
    }
    if rng.random() < 0.02:
        make_odd(product, rng)
    made.products.append(product)
    made.attributes[asin] = {"attributes": list(attributes)}
    if rng.random() < 0.6:
        asked = rng.sample(attributes, min(len(attributes), rng.choice((1, 2, 2, 3, 3, 4))))
        made.attributes[asin]["instruction"] = instruction(kind, asked, rng)
        made.attributes[asin]["instruction_attributes"] = asked
    made.human[asin] = [
        human(asin, family, attributes, options, rng) for _ in range(rng.choice((1, 2, 3, 3)))
    ]


def vary(family: Family, rng: random.Random) -> tuple[str, ...]:
    """The family's attributes with none, one or two of them replaced."""
    dropped = rng.sample(family.attributes, rng.choice((0, 1, 1, 1, 2)))
    if not dropped:
        return family.attributes
    keep = [phrase for phrase in family.attributes if phrase not in dropped]
    others = [phrase for phrase in family.kind.attributes if phrase not in dropped]
    start = rng.randrange(len(others))
    return consistent(others[start:] + others[:start], len(family.attributes), keep)


def offered(family: Family, rng: random.Random) -> dict[str, tuple[str, ...]]:
    """Most of the family's option values, few enough for the limit of combinations."""
    found = {
        group: tuple(value for value in values if rng.random() < 0.75) or values[:2]
        for group, values in family.options
    }
    while math.prod(map(len, found.values())) > MOST_COMBINATIONS:
        longest = max(found, key=lambda group: len(found[group]))
        found[longest] = found[longest][:-1]
    return found


def price(family: Family, rng: random.Random) -> str:
    """Price as the page shows it; empty where the shop has none."""
    if (chance := rng.random()) < 0.03:
        return ""
    low = int(family.price * rng.choice(FACTORS)) + rng.choice(CENTS)
    if chance > 0.12 + 0.03:
        return f"${low:,.2f}"
    return f"${low:,.2f} to ${low * rng.uniform(1.1, 1.6):,.2f}"


def title(family: Family, shown: Sequence[str], ending: str) -> str:
    """A title of 7 to 18 words that names the phrases in `shown` as far as there is room."""
    named: dict[str, list[str]] = {"before": [], "with": [], "for": []}
    for phrase in shown:
        text = CAPITALS[phrase].upper() if family.shouts else CAPITALS[phrase]
        named[ROLES[phrase]].append(text)
    noun, second = family.nouns
    head = [family.style, *named["before"][: family.leading], noun]
    named["before"] = named["before"][family.leading :]
    if not family.bare:
        named["with"] = [f"with {' and '.join(named['with'])}"] if named["with"] else []
    named["for"] = [f"for {' and '.join(named['for'])}"] if named["for"] else []
    named |= {"use": [family.use], "noun": [f"{second} {family.use}"], "brand": []}
    if family.order[0] == "brand":
        named["brand"] = [f"by {family.brand}"]
    else:
        head.insert(0, family.brand)
    found = " ".join(head)
    length = len(found.split()) + len(ending.split())
    for part in family.order:
        for text in named[part]:
            longer = length + len(text.split())
            if longer <= family.words and text not in found:
                found += family.separator + text
                length = longer
    if length < FEWEST_WORDS:
        found += f"{family.separator}{family.style} {second}"
    return f"{found} ({ending})" if ending else found


def texts(
    family: Family, name: str, attributes: Sequence[str], rng: random.Random
) -> tuple[list[str], str]:
    """Bullet points and description; what the title leaves out is in one of them."""
    noun = family.nouns[1].lower()
    bullets: list[str] = []
    fillers = rng.sample(words.SENTENCES, rng.randint(1, 3))
    sentences: list[str] = []
    for phrase in attributes:
        role = ROLES[phrase]
        if phrase in name and rng.random() < 0.7:
            continue
        if len(bullets) < 5 and rng.random() < 0.85:
            line = rng.choice(words.LINES[role])
            label = phrase.upper() if family.shouts else CAPITALS[phrase]
            bullets.append(line.format(A=label, a=phrase, noun=noun, brand=family.brand))
        else:
            sentences.append(rng.choice(words.DESCRIBING[role]).format(a=phrase))
    wanted = max(rng.randint(3, 5) - len(bullets), 0)
    lines = rng.sample(words.BULLETS[family.kind.category], wanted)
    bullets += [line.format(noun=noun) for line in lines]
    rng.shuffle(bullets)
    description = " ".join([*fillers[: max(4 - len(sentences), 0)], *sentences])
    return bullets, description.format(brand=family.brand, noun=noun, style=family.style)


def make_odd(product: dict[str, Any], rng: random.Random) -> None:
    """Give a record one of the shapes that surprise readers of the original's."""
    match rng.randrange(5):
        case 0:
            product["small_description"].append(product["full_description"])
            product["full_description"] = ""
        case 1:
            product["small_description"] = " ".join(product["small_description"])
        case 2:
            product["full_description"] = f"<p><b>Note:</b> {product['full_description']}</p>&nbsp;"
        case 3:
            product["customization_options"] = product["customization_options"] or {"Color": None}
        case _:
            lines = product["small_description"]
            product["small_description"] = [f"★【{i}】 {line} – ok" for i, line in enumerate(lines)]


def instruction(kind: Kind, asked: Sequence[str], rng: random.Random) -> str:
    """What a synthetic goal says before options and price limit."""
    before, having, purposes = (
        ", ".join(phrase for phrase in asked if ROLES[phrase] == role)
        for role in ("before", "with", "for")
    )
    template = rng.choice(words.INSTRUCTIONS if before else words.INSTRUCTIONS[:1])
    return tidy(
        template.format_map(
            {
                "query": kind.query,
                "before": before,
                "is": before,
                "with": having and f"with {having}",
                "for": purposes and f"for {purposes}",
            }
        )
    )


def tidy(text: str) -> str:
    """Text without the gaps that empty fields leave."""
    return GAPS.sub("", " ".join(text.split())).replace(" ,", ",")


def human(
    asin: str,
    family: Family,
    attributes: Sequence[str],
    options: Mapping[str, Sequence[str]],
    rng: random.Random,
) -> dict[str, Any]:
    """What a person might have asked for, in the layout of the original's records."""
    asked = rng.sample(attributes, min(len(attributes), rng.choice((1, 1, 2, 2, 3))))
    chosen = {
        group.lower(): rng.choice(values).replace("/", " | ").lower()
        for group, values in options.items()
    }
    named = {
        group: chosen[group]
        for group in rng.sample(list(chosen), min(len(chosen), rng.choice((0, 1, 1, 2))))
    }
    return {
        "asin": asin,
        "instruction": request(family, asked, named, rng),
        "attributes": list(attributes),
        "options": [f"{group}: {value}" for group, value in chosen.items()],
        "instruction_attributes": asked,
        "instruction_options": list(named.values()),
    }


def request(
    family: Family, asked: Sequence[str], named: Mapping[str, str], rng: random.Random
) -> str:
    """A sentence that asks for attributes and for option values by group."""
    said = {
        phrase: rng.choice(words.SAID.get(phrase, (phrase,))) if rng.random() < 0.35 else phrase
        for phrase in asked
    }
    noun = rng.choice((family.nouns[0].lower(), family.kind.query))
    front: list[str] = []
    behind: list[str] = []
    for group, value in named.items():
        if group in words.ADJECTIVES and value[0].isalpha() and rng.random() < 0.4:
            front.append(value)
        else:
            behind.append(rng.choice(words.CHOICES[group]).format(v=value))
    choices, wish = " and ".join(behind), ""
    if behind and rng.random() < 0.25:
        choices, wish = "", rng.choice(words.WISHES).format(choices)
    plural = noun.endswith("s") and not noun.endswith("ss")
    if not plural and rng.random() < 0.2:
        plain = article(" ".join([*front, noun, choices]))
        facts = [rng.choice(words.FACTS[ROLES[phrase]]).format(a=said[phrase]) for phrase in asked]
        text = rng.choice(words.DESCRIPTIONS).format(plain=plain, facts=" and ".join(facts))
        return tidy(text) + wish
    before, having, purposes = (
        [said[phrase] for phrase in asked if ROLES[phrase] == role]
        for role in ("before", "with", "for")
    )
    thing = rng.choice((", ", " ", " and ")).join([*front, *before])
    thing = f"{thing} {noun}".strip()
    ends = [f"with {' and '.join(having)}"] if having else []
    ends += [f"for {' and '.join(purposes)}"] if purposes else []
    ends += [choices] if choices else []
    rng.shuffle(ends)
    thing = " ".join([thing, *ends])
    thing = f"{rng.choice(('some ', ''))}{thing}" if plural else article(thing)
    return tidy(rng.choice(words.REQUESTS).format(thing=thing)) + wish


def article(thing: str) -> str:
    """`thing` with `a` or `an`."""
    return f"{'an' if thing.startswith(VOWEL_SOUNDS) else 'a'} {thing}"
