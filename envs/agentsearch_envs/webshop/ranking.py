"""The shop's search engine: BM25 over the products' documents, as the original ranks them.

    score(q, d) = sum over the terms of q of  idf * tf / (tf + k1 * (1 - b + b * l / mean l))
    idf = ln(1 + (N - n + 0.5) / (n + 0.5)),  k1 = 0.9,  b = 0.4

N is the number of documents, n of those with the term, tf how often d has it, and l the
length of d in terms as Lucene stores it; the mean is of exact lengths. A term counts as often
as the query has it. Hits are ordered by score rounded to 4 decimals, then by id.

Source: Robertson and Zaragoza, 2009, The Probabilistic Relevance Framework; Lucene's form of
it without the factor k1 + 1, with the settings of Anserini.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentsearch_envs.webshop.catalogue import Catalogue
from agentsearch_envs.webshop.words import terms, versions

K1, B = 0.9, 0.4
DECIMALS = 4
HITS = 50
VERSION = "1"
"""Raised whenever an index of the same terms changes."""

ARRAYS = ("starts", "numbers", "weights", "places")
CHECKSUM = hashlib.sha256().digest_size

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class Index:
    """Which products have a term and what that adds to their score.

    Products are numbered in the order of their ids here, so that ties are broken by number.
    In the shapes, N is products, T is terms and P pairs of a term and a product that has it.

    Attributes:
        rows: number of each term, 0 to T - 1.
        starts: `[T + 1]`, int64: the pairs of row r are `starts[r]` to `starts[r + 1]`.
        numbers: `[P]`, int32: the product of each pair.
        weights: `[P]`, float32: what one occurrence of the term in a query adds.
        places: `[N]`, int32: index into the catalogue's products, by number.
        words: length of all documents in terms.
    """

    rows: Mapping[str, int]
    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    weights: NDArray[np.float32]
    places: NDArray[np.int32]
    words: int

    def search(self, query: str, k: int = HITS) -> tuple[int, ...]:
        """The best k products at most, as indices into the catalogue's, best first."""
        found, _ = self._best(query, k)
        return tuple(self.places[found].tolist())

    def scored(self, query: str, k: int = HITS) -> list[tuple[int, float]]:
        """What `search` finds, with the rounded scores that order it."""
        found, scores = self._best(query, k)
        return list(zip(self.places[found].tolist(), scores.tolist(), strict=True))

    def _best(self, query: str, k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        scores = np.zeros(len(self.places))
        for term, count in Counter(terms(query)).items():
            row = self.rows.get(term)
            if row is not None:
                pairs = slice(self.starts[row], self.starts[row + 1])
                scores[self.numbers[pairs]] += count * self.weights[pairs]
        found = np.flatnonzero(scores)
        units = np.rint(scores[found] * 10**DECIMALS).astype(np.int64)
        keys = found - units * len(scores)  # by score, then by number
        best = np.argpartition(keys, k - 1)[:k] if k < len(keys) else np.arange(len(keys))
        best = best[np.argsort(keys[best])]
        return found[best], units[best] / 10**DECIMALS


def build(ids: Sequence[str], documents: Iterable[str]) -> Index:
    """The index of documents, one for each id, in the same order."""
    rows: dict[str, int] = {}
    # of each document: its length, the number of its terms, which they are and how often each
    lengths, sizes, having, often = array("i"), array("i"), array("i"), array("i")
    for _, document in zip(ids, documents, strict=True):
        counts = Counter(terms(document))
        lengths.append(counts.total())
        sizes.append(len(counts))
        having.extend([rows.setdefault(term, len(rows)) for term in counts])
        often.extend(counts.values())
    places = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int32)
    numbers = np.empty_like(places)
    numbers[places] = np.arange(len(ids), dtype=np.int32)
    by_term = np.argsort(np.asarray(having), kind="stable")
    holders = np.bincount(np.asarray(having), minlength=len(rows))
    documents_of = np.repeat(np.arange(len(ids), dtype=np.int32), sizes)[by_term]
    norms, rarity = _norms(np.asarray(lengths)), np.repeat(_idf(holders, len(ids)), holders)
    counted = np.asarray(often, np.float32)[by_term]
    return _index(
        rows,
        starts=np.concatenate([[0], np.cumsum(holders)]),
        numbers=numbers[documents_of],
        weights=rarity * counted / (counted + norms[documents_of]),
        places=places,
        words=sum(lengths),
    )


def load_or_build(catalogue: Catalogue, folder: Path | None = None) -> Index:
    """The index of a catalogue, kept in a folder for the next process.

    Any number of processes may do so at once. Where the folder cannot be written to, the
    index is made anew by every process.

    Args:
        catalogue: whose digest says which index is wanted.
        folder: `agentsearch/webshop` in the user's cache folder unless given.
    """
    found = cached(catalogue, folder)
    if found is None:
        products = catalogue.products
        found = build([each.asin for each in products], (each.document for each in products))
        path = _path(catalogue, folder)
        try:
            _write(path, _header(catalogue), found)
        except OSError as cause:
            _warn(path.parent, cause.strerror or str(cause))
    return found


def cached(catalogue: Catalogue, folder: Path | None = None) -> Index | None:
    """The index kept for a catalogue; None where there is none, or one that is not as written."""
    try:
        return _read(_path(catalogue, folder), _header(catalogue))
    except (OSError, ValueError, KeyError):
        return None


def stored_lengths(lengths: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Lengths as Lucene keeps them in a byte: exact below 40, then 4 significant bits of the rest.

    Source: Lucene's SmallFloat, whose byte has 24 values to spare below what it rounds.
    """
    rest = np.maximum(lengths - 24, 0)
    shifts = np.maximum(np.frexp(rest)[1] - 4, 0)
    return lengths - rest + (rest >> shifts << shifts)


def _norms(lengths: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """`[N]`: what is added to a term's count in each document before dividing by it."""
    mean = max(lengths.sum(), 1) / max(len(lengths), 1)  # there may be no document, or no word
    return (K1 * (1 - B + B * stored_lengths(lengths) / mean)).astype(np.float32)


def _idf(holders: NDArray[np.integer[Any]], documents: int) -> NDArray[np.float32]:
    """`[T]`, of the number of documents that have each term."""
    return np.log1p((documents - holders + 0.5) / (holders + 0.5)).astype(np.float32)


def _index(rows: Mapping[str, int], words: int, **arrays: NDArray[Any]) -> Index:
    for each in arrays.values():
        each.flags.writeable = False
    return Index(rows, words=words, **arrays)


# The cache: one file for each catalogue, a checksum before an npz archive


def _path(catalogue: Catalogue, folder: Path | None) -> Path:
    if folder is None:
        home = os.environ.get("XDG_CACHE_HOME", "")
        base = home if os.path.isabs(home) else os.path.expanduser("~/.cache")
        folder = Path(base, "agentsearch", "webshop")
    return folder / f"{hashlib.sha256(catalogue.digest.encode()).hexdigest()[:32]}.index"


def _header(catalogue: Catalogue) -> dict[str, Any]:
    """What a kept index must say of itself."""
    return {
        "digest": catalogue.digest,
        "products": len(catalogue.products),
        "versions": [VERSION, *versions()],
    }


def _write(path: Path, header: Mapping[str, Any], index: Index) -> None:
    text = json.dumps({"header": header, "terms": list(index.rows), "words": index.words})
    arrays = {name: getattr(index, name) for name in ARRAYS}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}-{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb+") as file:
            file.write(bytes(CHECKSUM))
            np.savez(file, text=np.frombuffer(text.encode(), np.uint8), **arrays)
            file.seek(CHECKSUM)
            checksum = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            file.write(checksum)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path, header: Mapping[str, Any]) -> Index | None:
    with path.open("rb") as file:
        checksum = file.read(CHECKSUM)
        if hashlib.file_digest(file, "sha256").digest() != checksum:
            return None
        file.seek(CHECKSUM)
        with np.load(file, allow_pickle=False) as archive:
            about = json.loads(archive["text"].tobytes())
            if about["header"] != header:
                return None
            arrays = {name: archive[name] for name in ARRAYS}
    return _index({term: row for row, term in enumerate(about["terms"])}, about["words"], **arrays)


@cache
def _warn(folder: Path, reason: str) -> None:
    """Once for each folder and reason."""
    log.warning(
        "%s: the search index cannot be kept there (%s) and is built by every process; "
        "set XDG_CACHE_HOME to a folder that can be written to.",
        folder,
        reason,
    )
