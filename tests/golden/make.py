"""Whole trees of every search, from a seeded policy and value.

    python -m tests.golden.make

writes them anew; look at the difference before it is committed.
"""

import json
from pathlib import Path

from agentsearch.search.agent_q import AgentQ
from agentsearch.search.beam import Beam
from agentsearch.search.best_first import BestFirst
from agentsearch.search.best_of_n import BestOfN
from agentsearch.search.mcts import MCTS
from tests.toy import Letters, Sampler, a_problem, grow, guess

FOLDER = Path(__file__).parent
WORD = "cabac"
CASES = {
    "mcts_puct": MCTS(width=3),
    "mcts_uct": MCTS(width=3, selection="uct", c_uct=1.0, discount=0.95),
    "mcts_parallel": MCTS(width=3, parallel=4, virtual_loss=0.5),
    "best_first": BestFirst(width=3),
    "best_first_paper": BestFirst(width=3, order="paper", depth=3, pops=12, samples=6),
    "beam": Beam(beam_width=2, width=4),
    "best_of_n": BestOfN(n=12, batch=5),
    "agent_q": AgentQ(width=3),
    "agent_q_mixed": AgentQ(width=3, select_value="mixed", alpha=0.7, rank_to_value="inverse"),
}


def tree(name):
    """The tree of a case as JSON, floats short enough to be equal on every machine."""
    env = Letters(word=WORD, pay={"a": 0.125})
    policy = Sampler({"a": 1.0, "b": 2.0, "c": 1.5})
    visible = name in ("mcts_uct", "beam")
    problem = a_problem(
        env, policy, guess(WORD, 0.3), seed=11, reward_visible=visible, calls=90, iterations=40
    )
    return shortened(json.loads(json.dumps(grow(CASES[name], problem).tree.to_json())))


def shortened(data):
    if isinstance(data, float):
        return round(data, 10)
    if isinstance(data, list):
        return [shortened(each) for each in data]
    return {k: shortened(v) for k, v in data.items()} if isinstance(data, dict) else data


def written(data):
    """One node a line, so that a difference can be read."""
    head = {key: value for key, value in data.items() if key != "nodes"}
    nodes = ",\n".join(json.dumps(node) for node in data["nodes"])
    return json.dumps(head)[:-1] + ', "nodes": [\n' + nodes + "\n]}\n"


if __name__ == "__main__":
    for case in CASES:
        (FOLDER / f"{case}.json").write_text(written(tree(case)), encoding="utf-8")
