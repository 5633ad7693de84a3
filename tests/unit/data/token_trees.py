"""Trees with token ids: built by hand, or grown with an engine that speaks in bytes."""

import asyncio
import math
import random
from dataclasses import dataclass

from agentsearch.budget import Budget, Limits
from agentsearch.data.segments import Ended, Labelled
from agentsearch.policies.prompted import Prompted
from agentsearch.problem import Problem
from agentsearch.protocols import Engine
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node, Tree
from agentsearch.types import Completion, EnvSpec, Proposal, Step, Task, Tokens, Verdict
from agentsearch.values.plain import Uniform

END = 256
ROLES = {"system": 257, "user": 258, "assistant": 259}
RIGHT, WRONG = Verdict(True, 1.0, ""), Verdict(False, 0.25, "")


# -- by hand ---------------------------------------------------------------------------


def a_tree(task_id="t/1"):
    return Tree(Node(0, None, "start"), task_id, "Do it.")


def grow(tree, parent, action, prompt, ids, *, visits=1, mean=0.0, critic=None, **more):
    """A child whose action was written as `ids` after `prompt`."""
    end = {name: more.pop(name) for name in ("terminated", "truncated", "reward") if name in more}
    logprobs = more.pop("logprobs", tuple(-0.125 * (i + 1) for i in range(len(ids))))
    sampled = (more.pop("sampled", True),) * len(ids)
    tokens = Tokens(tuple(prompt), tuple(ids), logprobs, sampled) if ids else None
    proposal = Proposal(action, f"raw {action}", tokens=tokens, version=more.pop("version", "p@1"))
    assert not more
    child = tree.add(parent, action, None, f"after {action}", proposal=proposal, **end)
    child.visits, child.value_sum = visits, visits * mean
    child.extra = None if critic is None else {"critic": critic}
    return child


def labelled(tree, verdicts, run="r"):
    """The tree with the verdicts of its leaves by number."""
    ended = tuple(Ended(tree.nodes[i], verdicts[i]) for i in sorted(verdicts))
    return Labelled("toy", run, tree, ended)


# -- grown -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ByteEngine:
    """Draws one of `letters`; a byte is a token, and each turn ends with END.

    Attributes:
        tokens: whether it tells token ids and log-probabilities.
    """

    letters: str = "abc"
    tokens: bool = True
    version: str = "bytes@1"

    async def generate(self, request):
        prompt = self.prompt(request.messages)
        if request.choices is not None:
            return [self.completion(prompt, text, "scored") for text in request.choices]
        drawn = (
            random.Random(derive_seed(request.seed, i)).choice(self.letters)
            for i in range(request.n)
        )
        return [self.completion(prompt, text, "stop") for text in drawn]

    def prompt(self, messages):
        turns = [(ROLES[m.role], *m.content.encode(), END) for m in messages]
        return (*(id for turn in turns for id in turn), ROLES["assistant"])

    def completion(self, prompt, text, finish):
        ids = (*text.encode(), END)
        logprobs = (-math.log(len(self.letters)),) * (len(ids) - 1) + (-0.01,)
        tokens = Tokens(prompt, ids, logprobs, (finish != "scored",) * len(ids))
        return Completion(
            text,
            finish,
            tokens if self.tokens else None,
            sum(logprobs),
            len(prompt),
            0,
            len(ids),
            self.version,
        )

    async def close(self):
        pass


@dataclass(frozen=True)
class Talk:
    """An endless chat: each answer is replied to with words that hang on all said so far."""

    steps: int = 6

    spec = EnvSpec("talk", "1", max_steps=6, actions="open")

    def tasks(self, split):
        return [Task(f"talk/{split}/0", "Go to the red ball, 4 + 9.")]

    async def reset(self, task, *, seed):
        return ()

    async def step(self, state, action):
        after = (*state, action)
        return Step(after, terminated=len(after) == self.steps)

    def observe(self, state):
        said = random.Random(repr(state)).choices(("door", "7 * 3", "the key", "left\n"), k=3)
        return f"{len(state)}: {' '.join(said)}"

    def legal_actions(self, state):
        return None

    def key(self, state):
        return state


def grow_wide(engine: Engine, policy=Prompted, nodes=1000, width=3, **fields) -> Tree:
    """A tree of at least `nodes` nodes, grown level by level, then left to right."""
    env = Talk()
    problem = Problem(
        env.tasks("train")[0],
        env,
        policy(engine, **fields),
        Uniform(),
        state=(),
        budget=Budget(Limits(calls=10**9)),
    )

    async def go():
        for node in problem.tree.nodes:
            if len(problem.tree) >= nodes:
                return
            if not node.done:
                await problem.expand(node, width)

    asyncio.run(go())
    return problem.tree
