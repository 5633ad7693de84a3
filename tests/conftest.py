"""What every test starts from: one thread, no network, no real model in unit tests."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy or torch
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import importlib.util
import signal
from pathlib import Path

import pytest

# a shell that starts us in the background has us ignore Ctrl-C, and so would what we start
signal.signal(signal.SIGINT, signal.default_int_handler)

UNIT = Path(__file__).parent / "unit"
SHARED = Path(__file__).parents[2] / "shared" / "data"
SWITCH = "AGENTSEARCH_FORBID_REAL_ENGINES"
EXPECTED = "AGENTSEARCH_EXPECT_VLLM"
"""Set in CI, where tests against a real server must not be skipped for want of one."""


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests of nightly size")


def pytest_collection_modifyitems(config, items):
    if os.environ.get(EXPECTED) and importlib.util.find_spec("vllm") is None:
        raise pytest.UsageError(f"vLLM is not installed, though {EXPECTED} says that it should be")
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "nightly size; run with --slow"
    if any(item.get_closest_marker("gpu") for item in items) and not has_gpu():
        reasons["gpu"] = "needs a GPU that torch can use"
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def has_gpu():
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def real_engines_are_forbidden_in_unit_tests(request):
    if not request.path.is_relative_to(UNIT):
        yield
        return
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    yield
    if before is None:
        del os.environ[SWITCH]
    else:
        os.environ[SWITCH] = before


@pytest.fixture(scope="session")
def shared():
    """The folder of third-party data; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the published data in {SHARED}, which is not here")
    return SHARED
