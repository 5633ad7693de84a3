"""Queries and hits recorded from the original's search engine, searched again in ours.

Source: Anserini 0.22.1 over the prebuilt index of the original's 1,000 products.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("regex", reason="needs regex: pip install 'agentsearch[envs]'")
pytest.importorskip("nltk", reason="needs nltk: pip install 'agentsearch[envs]'")

from agentsearch_envs.webshop import ranking
from agentsearch_envs.webshop.catalogue import Catalogue, build
from agentsearch_envs.webshop.ranking import Index


def read(shared: Path, name: str) -> Any:
    path = shared / "webshop" / name
    if not path.is_file():
        pytest.skip(f"needs {path}, which is not here")
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def catalogue(shared: Path) -> Catalogue:
    return build("webshop-1000", "", read(shared, "items_shuffle_1000.json.gz"), {})


@pytest.fixture(scope="module")
def index(catalogue: Catalogue) -> Index:
    products = catalogue.products
    return ranking.build([each.asin for each in products], [each.document for each in products])


def test_all_50_hits_of_every_recorded_query_are_equal_in_order_and_score(
    shared: Path, catalogue: Catalogue, index: Index
):
    recorded = read(shared, "parity_dev.json.gz")["bm25"]
    assert len(recorded) == 60
    for each in recorded:
        found = index.scored(each["query"])
        assert [catalogue.products[place].asin for place, _ in found] == [
            asin for asin, _ in each["hits"]
        ]
        # both are rounded, and the original tells ties apart in the sixth decimal
        expected = [score for _, score in each["hits"]]
        assert [score for _, score in found] == pytest.approx(expected, rel=0, abs=1.5e-4)


def test_the_index_has_as_many_words_as_the_originals(index: Index):
    assert index.words == 107_608
