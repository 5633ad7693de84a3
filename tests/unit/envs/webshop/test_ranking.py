"""The search engine: terms of a text, scores, order, and the index kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import math
import string
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("regex", reason="needs regex: pip install 'agentsearch[envs]'")
pytest.importorskip("nltk", reason="needs nltk: pip install 'agentsearch[envs]'")

from agentsearch_envs.webshop import ranking, words
from agentsearch_envs.webshop.catalogue import Catalogue, build
from agentsearch_envs.webshop.ranking import Index

# Terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Shoes of a runner", ["shoe", "runner"]),
        ("men's MEN’S men＇s mens", ["men", "men", "men", "men"]),
        ("rock'n'roll don't 'tis ’tis x''is", ["rock'n'rol", "don't", "ti", "ti", "x"]),
        ("1,000.5 3.5mm 49x79in a.b u_v -- _ &", ["1,000.5", "3.5mm", "49x79in", "a.b", "u_v"]),
        ("x² ½ 1⁄2", ["x", "1⁄2"]),
        ("★new★ ✔ ♡ ™ 👍 → ■", ["★", "new", "★", "✔", "♡", "™", "👍"]),
        ("品味 カタカナ café", ["品", "味", "カタカナ", "café"]),
        ("(ﾟ \u0301s", ["s"]),
        ("", []),
    ],
)
def test_terms_are_the_words_less_possessives_and_stop_words(text: str, terms: list[str]):
    assert words.terms(text) == terms


@pytest.mark.parametrize(
    ("word", "stem"),
    [
        ("sensibly", "sensibl"),  # Porter's paper has the rule abli -> able only
        ("technology", "technolog"),
        ("apology", "apolog"),  # logi -> log, which the paper has not
        ("geology", "geologi"),  # `geo` is too short for that rule
        ("relational", "relat"),
        ("dying", "dy"),  # NLTK's own extension would make it die
        ("skies", "ski"),
        ("as", ""),
        ("us", "us"),  # two letters are left alone
    ],
)
def test_words_are_stemmed_as_porters_own_program_does(word: str, stem: str):
    assert words.term(word) == stem


def test_33_words_are_stop_words():
    assert len(words.STOP_WORDS) == 33


def test_words_are_cut_after_255_characters():
    assert [len(term) for term in words.terms("x" * 600)] == [255, 255, 90]


# Scores


def scores(documents: list[str], query: str) -> dict[str, float]:
    """By document, in the plainest way, unrounded; stored lengths are exact below 40."""
    bags = [Counter(words.terms(document)) for document in documents]
    mean = (sum(bag.total() for bag in bags) or 1) / len(bags)
    found: dict[str, float] = {}
    for document, bag in zip(documents, bags, strict=True):
        norm = 0.9 * (1 - 0.4 + 0.4 * bag.total() / mean)
        for term in words.terms(query):
            holders = sum(term in other for other in bags)
            if term in bag:
                idf = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
                found[document] = found.get(document, 0) + idf * bag[term] / (bag[term] + norm)
    return found


def test_a_score_computed_by_hand():
    index = ranking.build(["A", "B"], ["red shoe", "red red hat box"])
    assert index.words == 6
    # mean length 3; `red` is in both: idf = ln 1.2; `hat` in one: idf = ln 2
    a = math.log(1.2) * 1 / (1 + 0.9 * (0.6 + 0.4 * 2 / 3))
    b = math.log(1.2) * 2 / (2 + 0.9 * (0.6 + 0.4 * 4 / 3))
    assert index.scored("red") == [(1, round(b, 4)), (0, round(a, 4))]
    hat = math.log(2) * 1 / (1 + 0.9 * (0.6 + 0.4 * 4 / 3))
    assert index.scored("hat") == [(1, round(hat, 4))]
    assert index.scored("a hat for a hat") == [(1, round(2 * hat, 4))]


@pytest.mark.parametrize(
    ("length", "stored"),
    [(0, 0), (23, 23), (24, 24), (39, 39), (40, 40), (41, 40), (42, 42), (57, 56), (1000, 984)],
)
def test_lengths_are_exact_below_40_and_then_lose_all_but_4_bits(length: int, stored: int):
    assert ranking.stored_lengths(np.array([length])).tolist() == [stored]


def test_scores_take_lengths_as_they_are_stored():
    index = ranking.build(["A", "B"], ["hat " + "box " * 40, "shoe"])  # 41 words, stored as 40
    score = math.log(2) * 1 / (1 + 0.9 * (0.6 + 0.4 * 40 / 21))
    assert index.scored("hat") == [(0, round(score, 4))]


def test_equal_scores_are_ordered_by_id_whatever_the_catalogues_order():
    index = ranking.build(["C", "A", "D", "B"], ["hat", "hat", "shoe", "hat"])
    assert index.search("hat") == (1, 3, 0)
    assert index.search("hat", 2) == (1, 3)
    assert index.search("hat", 1) == (1,)


def test_scores_are_equal_where_their_first_4_decimals_are():
    long = "shoe " * 100_000  # beside it, a word more or less is nothing
    index = ranking.build(["A", "B", "C"], ["hat box", "hat", long])
    row = index.rows["hat"]
    a, b = index.weights[index.starts[row] : index.starts[row + 1]]
    assert a < b
    assert index.search("hat") == (0, 1)


@settings(deadline=None)
@given(
    st.lists(st.text("xyz ", max_size=12), min_size=1, max_size=8, unique=True),
    st.text("wxyz ", max_size=12),
    st.integers(1, 9),
)
def test_hits_are_those_of_the_formula_in_order(documents: list[str], query: str, k: int):
    ids = [string.ascii_uppercase[(i * 7) % 26] for i in range(len(documents))]
    index = ranking.build(ids, documents)
    expected = [
        (-round(score, 4), ids[documents.index(document)], documents.index(document))
        for document, score in scores(documents, query).items()
    ]
    found = index.scored(query, k)
    assert [place for place, _ in found] == [place for _, _, place in sorted(expected)[:k]]
    assert [-score for _, score in found] == pytest.approx([s for s, _, _ in sorted(expected)[:k]])
    assert index.search(query, k) == tuple(place for place, _ in found)


# Queries of all kinds


def test_50_hits_at_most():
    index = ranking.build([f"{i:03}" for i in range(200)], ["red shoe"] * 200)
    assert index.search("shoe") == tuple(range(50))


@pytest.mark.parametrize("query", ["", " ", "the of a", "?!", "unheard", "s" * 300, "½"])
def test_a_query_without_known_words_finds_nothing(query: str):
    assert ranking.build(["A", "B"], ["the red shoe", "hat ½"]).search(query) == ()


@pytest.mark.parametrize("documents", [[], ["", "the"]])
def test_a_catalogue_without_words_can_be_searched(documents: list[str]):
    assert ranking.build(["A", "B"][: len(documents)], documents).search("the shoe") == ()


@pytest.mark.parametrize(
    "query",
    [
        "shoe " * 20_000,
        "x" * 100_000 + " shoe",
        "y" * 100_000 + " shoe",
        "\U0001f1e9" * 25_000 + " shoe",
        "\u0301" * 50_000 + " shoe",
        "e\u0301\u200d" * 20_000 + " shoe",
        "'" * 100_000 + "shoe",
        "\ud800\x00\u202e shoe",
        "".join(map(chr, range(0, 0x110000, 11))) + " shoe",
    ],
    ids=["words", "word", "y", "flags", "marks", "marked", "quotes", "surrogate", "everything"],
)
def test_long_and_hostile_queries_find_what_they_name(query: str):
    index = ranking.build(["A", "B"], ["red hat", "blue shoe"])
    assert index.search(query) == (1,)


def test_documents_may_hold_anything():
    index = ranking.build(["A", "B"], ["\ud800 shoe \x00", "\U0001f1e9\u0301"])
    assert index.search("shoe") == (0,)


def test_an_index_cannot_be_changed():
    index = ranking.build(["A"], ["red shoe"])
    for name in ranking.ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(index, name)[0] = 0


# The kept index


def catalogue(digest: str = "d1", *titles: str) -> Catalogue:
    records = [
        {
            "asin": f"B{i}",
            "name": title,
            "full_description": "",
            "small_description": [""],
            "category": "fashion",
            "query": "",
            "product_category": "",
        }
        for i, title in enumerate(titles or ("Red shoe", "Blue shoe", "Hat"))
    ]
    return build("test", digest, records, {})


def only(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


def same(one: Index, other: Index) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name))
        and getattr(one, name).dtype == getattr(other, name).dtype
        for name in ranking.ARRAYS
    )
    return arrays and dict(one.rows) == dict(other.rows) and one.words == other.words


def test_an_index_is_kept_and_found_again(tmp_path: Path):
    folder = tmp_path / "not" / "yet"
    assert ranking.cached(catalogue(), folder) is None
    built = ranking.load_or_build(catalogue(), folder)
    kept = only(folder).read_bytes()
    found = ranking.cached(catalogue(), folder)
    assert found is not None and same(found, built)
    assert same(ranking.load_or_build(catalogue(), folder), built)
    assert only(folder).read_bytes() == kept
    assert found.search("shoe") == (0, 1)
    with pytest.raises(ValueError, match="read-only"):
        found.weights[0] = 0


def test_the_users_cache_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    ranking.load_or_build(catalogue())
    assert only(tmp_path / "xdg" / "agentsearch" / "webshop").is_file()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its standard says to ignore
    ranking.load_or_build(catalogue())
    assert only(tmp_path / ".cache" / "agentsearch" / "webshop").is_file()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: data[32:],
        lambda data: b"not an index at all, but long enough to have a checksum before it",
    ],
)
def test_a_damaged_file_is_built_anew(tmp_path: Path, damage):
    built = ranking.load_or_build(catalogue(), tmp_path)
    path = only(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert ranking.cached(catalogue(), tmp_path) is None
    assert same(ranking.load_or_build(catalogue(), tmp_path), built)
    found = ranking.cached(catalogue(), tmp_path)
    assert found is not None and same(found, built)


def test_the_index_of_another_catalogue_is_not_taken(tmp_path: Path):
    ranking.load_or_build(catalogue("d1"), tmp_path / "one")
    ranking.load_or_build(catalogue("d2", "Lamp"), tmp_path / "two")
    one, two = only(tmp_path / "one"), only(tmp_path / "two")
    assert one.name != two.name
    one.write_bytes(two.read_bytes())
    assert ranking.cached(catalogue("d1"), tmp_path / "one") is None
    assert ranking.load_or_build(catalogue("d1"), tmp_path / "one").search("hat") == (2,)


def test_an_index_of_another_size_is_not_taken(tmp_path: Path):
    ranking.load_or_build(catalogue("d1", "Lamp"), tmp_path)
    assert ranking.cached(catalogue("d1"), tmp_path) is None


def test_an_index_made_by_other_versions_is_not_taken(tmp_path: Path):
    built = ranking.load_or_build(catalogue(), tmp_path)
    path, header = only(tmp_path), ranking._header(catalogue())
    libraries = [version("regex"), version("nltk"), unicodedata.unidata_version]
    assert header["versions"] == [ranking.VERSION, words.VERSION, *libraries]
    for i in range(len(header["versions"])):
        versions = [*header["versions"]]
        versions[i] += ".1"
        ranking._write(path, header | {"versions": versions}, built)
        assert ranking.cached(catalogue(), tmp_path) is None
    ranking._write(path, header, built)
    assert ranking.cached(catalogue(), tmp_path) is not None


class Trap:
    """Pickled, it writes a file where it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_content_is_never_opened(tmp_path: Path):
    ranking.load_or_build(catalogue(), tmp_path / "kept")
    sprung, archive = tmp_path / "sprung", io.BytesIO()
    np.savez(archive, text=np.array([Trap(sprung)], object))
    checksum = hashlib.sha256(archive.getvalue()).digest()
    only(tmp_path / "kept").write_bytes(checksum + archive.getvalue())
    assert ranking.cached(catalogue(), tmp_path / "kept") is None
    assert not sprung.exists()


class Met:
    """An array that is written when another is, too."""

    def __init__(self, array: np.ndarray, meet: Barrier) -> None:
        self.array = array
        self.meet = meet

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        self.meet.wait(30)
        return self.array


def test_several_may_write_at_once(tmp_path: Path):
    built = ranking.load_or_build(catalogue(), tmp_path)
    path, header = only(tmp_path), ranking._header(catalogue())
    path.unlink()
    meet = Barrier(2)
    one, two = (dataclasses.replace(built, weights=Met(built.weights, meet)) for _ in range(2))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda index: ranking._write(path, header, index), (one, two)))
    assert only(tmp_path) == path
    found = ranking.cached(catalogue(), tmp_path)
    assert found is not None and same(found, built)


def test_a_folder_that_cannot_be_written_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "file"
    file.touch()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert ranking.load_or_build(catalogue(), file / "below").search("hat") == (2,)
    [record] = caplog.records
    assert str(file / "below") in record.getMessage()
    assert "XDG_CACHE_HOME" in record.getMessage()
