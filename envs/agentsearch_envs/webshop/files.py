"""WebShop's data files: a directory of them as a catalogue, and what is wrong with them.

Each file may be plain or compressed (`.gz`). The full set is `items_shuffle.json` (products),
`items_ins_v2.json` (attributes and instructions) and, if people's instructions are wanted,
`items_human_ins.json`; the small set has `_1000` in the names. `color_words.json` may lie
beside them. In messages records count from 0, as in `jq '.[17]'`.

Source: Yao et al., 2022, WebShop; records are taken and skipped as the original does it.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import itertools
import json
import math
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import catalogue as c
from agentsearch_envs.webshop.catalogue import Catalogue

PRODUCTS, ATTRIBUTES, HUMAN = "items_shuffle", "items_ins_v2", "items_human_ins"
COLOURS = "color_words.json"
SMALL, SMALL_SIZE = "_1000", 1000
BLOCK = 2**23
"""Bytes that are read at a time."""
LONGEST_RECORD = 2**21
"""Characters; what is not complete within them is taken for broken."""
QUOTED = 60
"""Characters of a wrong value that a message shows."""
AGAIN = "Fetch the file again."
MEND = "Correct the record or take it out of the file."

_T = TypeVar("_T")


@dataclass(frozen=True)
class Report:
    """What a directory of WebShop's files holds.

    Attributes:
        files: names of those that were used.
        skipped_nan, skipped_long_id, skipped_repeats: records left out, as in the original.
        with_instruction: products that a synthetic goal can ask for.
        range_priced: products with two prices, of which one in between is drawn.
        without_price: products that cost the default.
        without_attributes: products for which the attribute file has none.
        index: `built` now, or found `cached`.
        digest: SHA-256 of the contents used.
    """

    catalogue: str
    files: tuple[str, ...]
    products: int
    skipped_nan: int
    skipped_long_id: int
    skipped_repeats: int
    with_instruction: int
    synthetic_goals: int
    human_goals: int
    range_priced: int
    without_price: int
    without_attributes: int
    index: str
    digest: str


def load(folder: Path, products: int | None = None) -> Catalogue:
    """The catalogue in a directory, named after its size, such as `webshop-1000`.

    A product that the attribute file does not know gets the original's placeholder and no
    synthetic goal; the original stops there.

    Args:
        folder: where the files lie.
        products: take the first so many records. With 1000 the small files are preferred,
            else the full ones.

    Raises:
        ConfigError: a file is missing or broken, or there is nothing to shop for.
    """
    return _read(folder, products).catalogue


def colours(folder: Path) -> tuple[str, ...] | None:
    """The colour words of `color_words.json`, in order; None where the directory has none.

    Without the file the reward uses its own list.

    Raises:
        ConfigError: the file is broken.
    """
    path = _find(folder, COLOURS)
    if path is None:
        return None
    words = _whole(path, hashlib.sha256())
    good = isinstance(words, list) and all(isinstance(word, str) and word for word in words)
    if not good or not words:
        raise ConfigError(f"{path}: must be a list of colour words. {AGAIN}")
    return tuple(words)


def check(folder: Path, products: int | None = None) -> Report:
    """Read all files, count what they hold, and build the search index or find it cached.

    Raises:
        ConfigError: as `load` and `colours`.
    """
    from agentsearch_envs.webshop import goals, ranking

    read = _read(folder, products)
    words = _find(folder, COLOURS) if colours(folder) else None
    found = read.catalogue.products
    rng = random.Random(0)  # the counts are the same for every seed
    prices = goals.draw_prices(found, rng)
    cached = ranking.cached(read.catalogue) is not None
    if not cached:
        ranking.load_or_build(read.catalogue)
    return Report(
        catalogue=read.catalogue.name,
        files=tuple(path.name for path in (*read.files, *filter(None, (words,)))),
        products=len(found),
        skipped_nan=read.counts["nan"],
        skipped_long_id=read.counts["long id"],
        skipped_repeats=read.counts["repeat"],
        with_instruction=sum(each.instruction is not None for each in found),
        synthetic_goals=len(goals.synthetic_goals(found, prices, rng)),
        human_goals=len(goals.human_goals(found, prices, rng)),
        range_priced=sum(len(each.prices) > 1 for each in found),
        without_price=read.counts["no price"],
        without_attributes=sum(each.attributes in ((), c.NO_ATTRIBUTES) for each in found),
        index="cached" if cached else "built",
        digest=read.catalogue.digest,
    )


# Reading a directory


@dataclass(frozen=True)
class _Read:
    catalogue: Catalogue
    files: tuple[Path, ...]
    counts: Counter[str]


def _read(folder: Path, limit: int | None) -> _Read:
    if limit is not None and limit < 1:
        raise ConfigError(f"products={limit}: must be at least 1.")
    products, attributes, human = _choose(folder, limit)
    sha, counts = hashlib.sha256(), Counter[str]()
    known = _entries(attributes, sha, _ATTRIBUTES)
    asked = _entries(human, sha, _ASKED) if human else {}
    blocks = _blocks(products, sha)
    records = itertools.islice(_array(products, blocks), limit)
    built = c.build("", "", _checked(records, products, counts), known, asked)
    for _ in blocks:  # the digest is of whole files
        pass
    if limit is not None and counts["read"] < limit:
        raise ConfigError(
            f"products={limit}: {products} has only {counts['read']:,} records. "
            "Lower the number, or leave it out to take them all."
        )
    if not built.products:
        raise ConfigError(
            f"{products}: holds no product ({counts['read']} records, all skipped). {AGAIN}"
        )
    if not any(each.instruction is not None or each.human for each in built.products):
        raise ConfigError(
            f"{attributes}: no field instruction for any of the {len(built.products):,} products "
            f"of {products.name}, so there is no goal. Take more products, or files that belong "
            "together."
        )
    sha.update(f"cut={counts['read']}".encode())
    catalogue = replace(built, name=f"webshop-{len(built.products)}", digest=sha.hexdigest())
    return _Read(catalogue, tuple(filter(None, (products, attributes, human))), counts)


def _choose(folder: Path, limit: int | None) -> tuple[Path, Path, Path | None]:
    """The files of products, attributes and, where there is one, human instructions."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such directory. Give the one that WebShop's files are in.")
    full, small = (_find(folder, f"{PRODUCTS}{size}.json") for size in ("", SMALL))
    size = SMALL if full is None or (small is not None and limit == SMALL_SIZE) else ""
    products = small if size else full
    attributes = _find(folder, f"{ATTRIBUTES}{size}.json")
    if products is None:
        raise _missing(folder, f"{PRODUCTS}.json", f"{PRODUCTS}{SMALL}.json")
    if attributes is None:
        raise _missing(folder, f"{ATTRIBUTES}{size}.json")
    # the original reads everybody's instructions, however few products it takes
    human = _find(folder, f"{HUMAN}{size}.json") or _find(folder, f"{HUMAN}.json")
    return products, attributes, human


def _find(folder: Path, name: str) -> Path | None:
    """The plain file of that name, else the compressed one."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.exists()), None)


def _missing(folder: Path, *names: str) -> ConfigError:
    looked_for = " or ".join(f"{name}[.gz]" for name in names)
    return ConfigError(f"{folder}: has no {looked_for}. Put WebShop's files there.")


# Reading a file


def _blocks(path: Path, sha: Any) -> Iterator[str]:
    """The text of a plain or compressed file in pieces, hashed on the way."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(BLOCK):
                sha.update(block)
                yield decoder.decode(block)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text. {AGAIN}") from None
    except EOFError:
        raise ConfigError(f"{path}: the compressed file is cut short. {AGAIN}") from None
    except gzip.BadGzipFile:
        raise ConfigError(
            f"{path}: is no gzip file, or a damaged one. Fetch it again, or take .gz from its "
            "name if it is plain."
        ) from None
    except zlib.error:
        raise ConfigError(f"{path}: the compressed file is damaged. {AGAIN}") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}). Check its permissions."
        ) from None
    sha.update(b"\0")  # where a file ends


class _Json:
    """JSON text taken value by value, since the full catalogue's would fill the memory."""

    def __init__(self, path: Path, blocks: Iterator[str]) -> None:
        self.path, self.blocks = path, blocks
        self.text, self.at, self.line = "", 0, 1

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while len(self.text) - self.at < LONGEST_RECORD:
            block = next(self.blocks, None)
            if block is None:
                break
            self.line += self.text.count("\n", 0, self.at)
            self.text, self.at = self.text[self.at :] + block, 0
        found = _MARK.search(self.text, self.at)
        self.at = found.start() if found else len(self.text)
        return found[0] if found else ""

    def take(self, mark: str) -> bool:
        """Pass a character if it is the next."""
        found = self.peek() == mark
        self.at += found
        return found

    def value(self) -> Any:
        """Pass the next value."""
        self.peek()
        try:
            value, self.at = _DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise self.error(error.msg, error.pos) from None
        except (ValueError, RecursionError) as error:  # a number or a nesting without end
            raise self.error(str(error), self.at) from None
        return value

    def error(self, what: str, at: int) -> ConfigError:
        """The sentence for text that is not JSON."""
        line = self.line + self.text.count("\n", 0, at)
        return ConfigError(f"{self.path}: is not JSON from line {line} on ({what}). {AGAIN}")


_DECODER = json.JSONDecoder()
_MARK = re.compile(r"[^ \t\r\n]")


def _array(path: Path, blocks: Iterator[str]) -> Iterator[Any]:
    """The elements of the list that a file holds."""
    text = _Json(path, blocks)
    if not text.peek():
        raise _empty(path)
    if not text.take("["):
        raise _wrong_kind(path, text.peek(), "a list, which begins with '['")
    if not text.take("]"):
        yield text.value()
        while text.take(","):
            yield text.value()
        if not text.take("]"):
            raise text.error("expected ',' or ']' after a record", text.at)
    if text.peek():
        raise text.error("text after the end of the list", text.at)


def _whole(path: Path, sha: Any) -> Any:
    """All that a file holds."""
    text = "".join(_blocks(path, sha))
    if not _MARK.search(text):
        raise _empty(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: is not JSON from line {error.lineno} on ({error.msg}). {AGAIN}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON that can be read ({error}). {AGAIN}") from None


def _empty(path: Path) -> ConfigError:
    return ConfigError(f"{path}: is empty. {AGAIN}")


def _wrong_kind(path: Path, start: str, wanted: str) -> ConfigError:
    return ConfigError(f"{path}: begins with {start!r}, but must be {wanted}. {AGAIN}")


# Checking records


def _or_none(value: Any) -> Any:
    """What is empty counts as absent, as in the original."""
    return value or None


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _priced(text: str | None) -> str | None:
    try:
        prices = c.pricing(text)[1]
    except (ValueError, IndexError):
        prices = (math.inf,)
    if not all(map(math.isfinite, prices)):
        raise ValueError("must hold prices such as $12.99")
    return text


_Text = Annotated[str, Field(min_length=0)]  # the constraint has pydantic look for lone surrogates


class _Value(BaseModel):
    value: _Text


class _Product(BaseModel):
    """All of a product's record that is read."""

    asin: _Text
    name: _Text
    category: _Text
    query: _Text
    product_category: _Text
    full_description: _Text
    small_description: Annotated[list[_Text], BeforeValidator(_as_list), Field(min_length=1)]
    pricing: Annotated[_Text | None, BeforeValidator(_or_none), AfterValidator(_priced)] = None
    customization_options: Annotated[
        dict[_Text, list[_Value] | None] | None, BeforeValidator(_or_none)
    ] = None
    images: Annotated[list[_Text] | None, BeforeValidator(_or_none)] = None


def _needed(attributes: list[str] | None, info: ValidationInfo) -> list[str] | None:
    if info.data.get("instruction") is not None and not attributes:
        raise ValueError("must not be empty where there is an instruction")
    return attributes


class _Attributes(BaseModel):
    attributes: list[_Text] = []
    instruction: _Text | None = None
    instruction_attributes: Annotated[
        list[_Text] | None,
        BeforeValidator(_or_none),
        AfterValidator(_needed),
        Field(validate_default=True),
    ] = None


class _Asked(BaseModel):
    instruction: _Text
    instruction_attributes: list[_Text]
    instruction_options: list[_Text]


_PRODUCT, _ATTRIBUTES = TypeAdapter(_Product), TypeAdapter(_Attributes)
_ASKED = TypeAdapter(list[_Asked])
_MUST_BE = {
    "string_type": "must be text",
    "string_unicode": "must be whole characters, not half a surrogate pair",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must not be empty",
}
"""By pydantic's names of what can be wrong."""


def _checked(records: Iterable[Any], path: Path, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The records of products, each once; what is skipped is counted.

    Raises:
        ConfigError: a record is broken, or two that differ have the same id.
    """
    seen: dict[str, tuple[int, int]] = {}
    for index, record in enumerate(records):
        counts["read"] += 1
        asin = record.get("asin") if isinstance(record, dict) else None
        if isinstance(asin, str) and (asin == "nan" or len(asin) > c.LONGEST_ID):
            counts["nan" if asin == "nan" else "long id"] += 1
            continue
        product = _valid(_PRODUCT, record, path, index, asin)
        content = hash(repr(product))  # of the fields that are read; a fraction of their size
        first, same = seen.setdefault(product.asin, (index, content))
        if content != same:
            raise ConfigError(
                f"{path}: records {first} and {index} both have the id {_quoted(asin)}, but "
                f"differ. {MEND}"
            )
        if first != index:
            counts["repeat"] += 1
            continue
        counts["no price"] += product.pricing is None
        yield record


def _entries(path: Path, sha: Any, shape: TypeAdapter[Any]) -> dict[str, Any]:
    """What a file says of each product, by id."""
    found = _whole(path, sha)
    if not isinstance(found, dict):
        raise _wrong_kind(path, json.dumps(found)[0], "an object, which begins with '{'")
    for index, (asin, entry) in enumerate(found.items()):
        _valid(shape, entry, path, index, asin)
    return found


def _valid(shape: TypeAdapter[_T], value: Any, path: Path, index: int, asin: object) -> _T:
    """The value in its shape, or the first thing that is wrong with it as a sentence."""
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    kind, place = first["type"], _place(first["loc"])
    if kind == "missing":
        wrong = "is missing"
    else:
        must = _MUST_BE.get(kind) or first["msg"].removeprefix("Value error, ")
        wrong = f"is {_quoted(first['input'])}, but {must}"
    record = f"record {index}" + (f" (id {_quoted(asin)})" if isinstance(asin, str) else "")
    raise ConfigError(f"{path}: {record}{place} {wrong}. {MEND}")


def _place(where: tuple[int | str, ...]) -> str:
    """`, field options.Color[0].value` for where pydantic found something."""
    parts = (f"[{each}]" if isinstance(each, int) else f".{each}" for each in where)
    name = "".join(parts).removeprefix(".")
    return f", field {name}" if name else ""


def _quoted(value: object) -> str:
    """JSON of a value on one line, its end cut off if it is long."""
    text = json.dumps(value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."
