"""Seeds tell draws apart and stay the same for ever."""

import subprocess
import sys

from agentsearch.seeds import derive_seed


def test_seeds_are_the_same_on_every_machine():
    assert derive_seed() == 8238016292129134938
    assert derive_seed(0, "game24/1-1-4-6", 3, "sample", 0) == 2913888403421983062


def test_seeds_do_not_depend_on_the_process():
    code = "from agentsearch.seeds import derive_seed; print(derive_seed(1, 'x', 2))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert int(done.stdout) == derive_seed(1, "x", 2)


def test_a_seed_has_63_bits():
    seeds = [derive_seed(i) for i in range(2000)]
    assert min(seeds) >= 0 and max(seeds) < 2**63
    assert max(seeds) > 2**62 and len(set(seeds)) == 2000


def test_parts_are_kept_apart():
    assert derive_seed(1, 23) != derive_seed(12, 3) != derive_seed(123)
    assert derive_seed("a", "b") != derive_seed("ab")


def test_neighbouring_seeds_share_no_samples():
    """Sample i of seed s is not sample i - 1 of seed s + 1."""
    assert derive_seed(5, 1) != derive_seed(6, 0)
