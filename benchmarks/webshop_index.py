"""What WebShop's search index costs to build, keep and load, and how fast it answers.

    python benchmarks/webshop_index.py --json benchmarks/results/webshop_index.json

Catalogues are generated. Memory is what Python and numpy allocate (`tracemalloc`), measured
apart from the times, because tracing slows. Times are medians over `repeats`, except that
each index is built once; processor seconds stand beside wall seconds, because a machine that
is busy with other things slows the latter. Files are read just after they were written, from
the system's cache. The row `full_size` is no measurement: it is the largest row times the
ratio of the products.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from record import Record, main

from agentsearch_envs.webshop import ranking, words
from agentsearch_envs.webshop.catalogue import Catalogue
from agentsearch_envs.webshop.generated import generated
from agentsearch_envs.webshop.ranking import Index

SIZES, QUICK_SIZES = (1_000, 100_000), (100, 1_000)
FULL_SIZE = 1_180_000
"""Products of the original's whole catalogue."""
WORDS = 8
"""Of a query."""
QUERIES, QUICK_QUERIES = 1_000, 100
TARGET = 5_000
"""Queries a second of processor time in 1,000 products."""
LINEAR = ("build_seconds_cpu", "build_peak_mb", "index_mb", "catalogue_mb", "file_mb")
LINEAR += ("load_seconds_cpu", "query_ms_cpu")
"""What grows with the number of products."""

T = TypeVar("T")


def timed(make: Callable[[], T]) -> tuple[T, float, float]:
    """What `make` returns, the wall seconds and the processor seconds it took."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    made = make()
    return made, time.perf_counter() - wall, time.process_time() - cpu


def traced(make: Callable[[], T]) -> tuple[T, float, float]:
    """What `make` returns, the MB that this keeps, and the MB at the peak of making it."""
    gc.collect()
    tracemalloc.start()
    made = make()
    _, peak = tracemalloc.get_traced_memory()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return made, round(kept / 1e6, 2), round(peak / 1e6, 2)


def build(catalogue: Catalogue) -> Index:
    products = catalogue.products
    return ranking.build([each.asin for each in products], (each.document for each in products))


def queries(catalogue: Catalogue, count: int) -> list[str]:
    """The first words of titles, which find themselves and what shares their words."""
    titles = (each.title.split() for each in catalogue.products)
    found = [" ".join(title[:WORDS]) for title in titles if len(title) >= WORDS]
    return found[:: max(len(found) // count, 1)][:count]


def index(size: int, asked: int, repeats: int, seed: int) -> dict[str, Any]:
    """Every figure of one size."""
    catalogue, catalogue_mb, _ = traced(lambda: generated(seed, size))
    words.term.cache_clear()
    built, wall, cpu = timed(lambda: build(catalogue))
    figures: dict[str, Any] = {
        "products": size,
        "words": built.words,
        "terms": len(built.rows),
        "pairs": len(built.numbers),
        "catalogue_mb": catalogue_mb,
        "build_seconds": round(wall, 3),
        "build_seconds_cpu": round(cpu, 3),
    }
    del built
    _, _, peak_mb = traced(lambda: build(catalogue))
    with tempfile.TemporaryDirectory() as folder:
        ranking.load_or_build(catalogue, Path(folder))
        [file] = Path(folder).iterdir()
        loads = [timed(lambda: ranking.cached(catalogue, Path(folder))) for _ in range(repeats)]
        loaded, index_mb, _ = traced(lambda: ranking.cached(catalogue, Path(folder)))
        figures |= {
            "index_mb": index_mb,
            "build_peak_mb": peak_mb,
            "file_mb": round(file.stat().st_size / 1e6, 2),
            **_seconds("load_seconds", [load[1:] for load in loads]),
        }
    assert loaded is not None, "the index was not kept"
    texts = queries(catalogue, asked)
    ask = [timed(lambda: [loaded.search(text) for text in texts]) for _ in range(repeats)]
    hits = statistics.mean(len(loaded.search(text)) for text in texts)
    wall, cpu = (statistics.median(each[i] for each in ask) / len(texts) for i in (1, 2))
    return figures | {
        "queries": len(texts),
        "mean_hits": round(hits, 1),
        "query_ms": round(1e3 * wall, 4),
        "query_ms_cpu": round(1e3 * cpu, 4),
        "queries_per_second": round(1 / wall),
        "queries_per_second_cpu": round(1 / cpu),
    }


def _seconds(name: str, taken: Sequence[Sequence[float]]) -> dict[str, float]:
    wall, cpu = (statistics.median(each) for each in zip(*taken, strict=True))
    return {name: round(wall, 4), f"{name}_cpu": round(cpu, 4)}


def full_size(largest: dict[str, Any]) -> dict[str, Any]:
    """The largest row as it would be with all products, if all grew in proportion."""
    ratio = FULL_SIZE / largest["products"]
    return {
        "what": f"extrapolated linearly from {largest['products']} products, not measured",
        "products": FULL_SIZE,
        **{name: round(largest[name] * ratio, 1) for name in LINEAR},
    }


def measure(quick: bool, seed: int) -> dict[str, Any]:
    """Every row."""
    repeats = 1 if quick else 5
    record = Record("webshop_index", quick=quick, seed=seed, repeats=repeats)
    _, wall, cpu = timed(lambda: words.terms("shoe"))
    sizes, asked = (QUICK_SIZES, QUICK_QUERIES) if quick else (SIZES, QUERIES)
    rows: dict[str, Any] = {
        "first_use": {
            "what": "importing regex and nltk, once a process",
            "seconds": round(wall, 3),
            "seconds_cpu": round(cpu, 3),
        }
    }
    rows |= {f"index_{size}": index(size, asked, repeats, seed) for size in sizes}
    first, largest = (rows[f"index_{size}"] for size in sizes)
    first["target"] = {"queries_per_second_cpu": TARGET}
    first["met"] = first["queries_per_second_cpu"] >= TARGET
    rows["full_size"] = full_size(largest)
    return record.of(rows, {name: version(name) for name in ("nltk", "numpy", "regex")})


if __name__ == "__main__":
    main(__doc__, measure)
