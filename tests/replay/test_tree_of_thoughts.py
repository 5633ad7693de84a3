"""The published GPT-4 run of tree of thoughts, replayed through our beam search.

Every proposal and value is GPT-4's, from the log; what is ours is the search. A block of
lines that GPT-4 wrote is one action, and the state is the text so far. The fourth level is
cut by the step limit, not ended by the task, because the original values it too.
Source: Yao et al., 2023; data of princeton-nlp/tree-of-thought-llm.
"""

import asyncio
import gzip
import json
from dataclasses import dataclass

import pytest

from agentsearch.budget import Budget, Limits
from agentsearch.errors import PolicyError
from agentsearch.policies.scripted import Scripted
from agentsearch.problem import Problem
from agentsearch.search.beam import Beam
from agentsearch.types import EnvSpec, Step, Task
from agentsearch.values.plain import ScriptedValue
from agentsearch_envs.game24 import check_answer

STEPS = 4
KEPT = 5


@dataclass(frozen=True)
class Text:
    """Any text is an action; the state is all of it."""

    spec = EnvSpec("text", "1", max_steps=STEPS, actions="open")

    async def step(self, state, action):
        after = (*state, action)
        return Step(after, truncated=len(after) == STEPS)

    def observe(self, state):
        return "".join(state)

    def legal_actions(self, state):
        return None


def proposals(step):
    """What was proposed for each kept text, in order; of equal texts the first has all."""
    blocks, place = [], 0
    new = step["new_ys"]
    for text in step["ys"]:
        start = place
        while place < len(new) and new[place].startswith(text):
            place += 1
        blocks.append([each[len(text) :] for each in new[start:place]])
    assert place == len(new)
    return blocks


class Replay:
    """GPT-4's replies, each given once, in the order in which the beam has to ask."""

    def __init__(self, puzzle):
        self.blocks, self.values = [], []
        for step in puzzle["steps"]:
            self.blocks += zip(step["ys"], proposals(step), strict=True)
            self.values += zip(step["new_ys"], step["values"], strict=True)

    def propose(self, context, n):
        text, blocks = self.blocks.pop(0)
        assert context.observation == text
        return blocks

    def value(self, context):
        text, value = self.values.pop(0)
        assert context.observation == text
        return value


def searched(puzzle, beam_width=KEPT):
    """The problem after the search, and the beam of each level."""
    replay = Replay(puzzle)
    task = Task(f"game24/{puzzle['idx']}", "Make 24.")
    problem = Problem(
        task,
        Text(),
        Scripted(replay.propose),
        ScriptedValue(replay.value),
        state=(),
        budget=Budget(Limits(iterations=STEPS)),
        merge=False,
    )
    beam = Beam(beam_width=beam_width, width=1000)
    asyncio.run(beam.search(problem))
    assert replay.blocks == replay.values == []
    levels = []
    for depth in range(1, STEPS + 1):
        made = [node for node in problem.tree.nodes if node.depth == depth]
        levels.append(asyncio.run(beam.survivors(problem, made)))
    return problem, levels


@pytest.fixture(scope="module")
def puzzles(shared):
    path = shared / "game24" / "tot_gpt4_bfs_b5_log.json.gz"
    if not path.is_file():
        pytest.skip(f"needs the published log {path}, which is not here")
    return json.loads(gzip.decompress(path.read_bytes()))


def test_every_level_keeps_what_the_original_kept(puzzles):
    assert len(puzzles) == 100
    first = among = 0
    for puzzle in puzzles:
        problem, levels = searched(puzzle)
        for step, kept in zip(puzzle["steps"], levels, strict=True):
            assert [node.observation for node in kept] == step["select_new_ys"]
        # the beam went on from just these: what it expanded are the texts it had kept
        expanded = [node for node in problem.tree.nodes[1:] if node.children]
        going_on = [node for kept in levels[:-1] for node in kept if node.children]
        assert expanded and set(expanded) == set(going_on)
        numbers = puzzle["steps"][0]["x"].split()
        correct = [check_answer(numbers, node.observation) for node in levels[-1]]
        assert correct == [bool(info["r"]) for info in puzzle["infos"]]
        first, among = first + correct[0], among + any(correct)
    assert (first, among) == (62, 69)


def test_a_beam_of_another_width_is_not_the_published_search(puzzles):
    with pytest.raises(PolicyError, match="propose: AssertionError"):
        searched(puzzles[0], beam_width=4)
