"""What the policy was sent at each node of a tree, rebuilt from the run's recipe.

A tree keeps no prompts: they follow from the policy's `prompts` and the path. Neither an
engine nor a model is made for it. Prompts that name the legal actions need the states,
which replaying the tree's actions in the environment gives back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentsearch.config import Builder, Recipe, load_recipe
from agentsearch.engines.scripted import ScriptedEngine
from agentsearch.errors import DataError
from agentsearch.protocols import Environment
from agentsearch.seeds import derive_seed
from agentsearch.tree import Node, Tree
from agentsearch.types import Context, Message, Task, Turn

Chat = tuple[Message, ...]
Actions = tuple[str, ...]


@dataclass(frozen=True)
class Prompter:
    """Rebuilds the prompts of one run.

    Attributes:
        prompts: the policy's own; `propose_messages(context)` gives the chat.
        recipe: of the run.
        env: its environment.
    """

    prompts: Any
    recipe: Recipe
    env: Environment[Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Prompter:
        """The prompter of a run's `config.yaml`.

        Raises:
            DataError: the policy sends no prompts, or it cannot be made here.
        """
        silent = ScriptedEngine(replies=("",))  # prompts do not depend on the engine
        try:
            recipe, builder = load_recipe(config), Builder()
            env = builder.build("envs", "env", recipe.env, {})
            parts = {"env": env, "engine": silent}
            policy = builder.build("policies", "policy", recipe.policy, parts)
        except Exception as cause:  # a plug-in may raise anything while it is made
            raise DataError(f"The run's policy cannot be made here: {cause}") from cause
        prompts = getattr(policy, "prompts", None)
        if not hasattr(prompts, "propose_messages"):
            raise DataError(f"The policy {recipe.policy['name']!r} sends no prompts.")
        return cls(prompts, recipe, env)

    def chats(self, tree: Tree) -> Iterator[Chat | None]:
        """The chat at each node in order of creation; None where the episode has ended.

        Raises:
            DataError: they cannot be rebuilt.
        """
        legal: Sequence[Actions | None] = [None] * len(tree)
        if self.names_actions():
            legal = self.legal_actions(tree)
        paths: list[tuple[Turn, ...]] = []
        for node, actions in zip(tree.nodes, legal, strict=True):
            paths.append(_turns(node, paths))
            context = Context(tree.prompt, node.observation, paths[-1], actions)
            try:
                yield None if node.done else self.prompts.propose_messages(context)
            except Exception as cause:  # prompts may be a plug-in's
                raise DataError(f"The policy's prompts cannot be made: {cause}") from cause

    def names_actions(self) -> bool:
        """Whether a prompt depends on the legal actions."""
        without = Context("task", "observation")
        try:
            chats = [
                self.prompts.propose_messages(context)
                for context in (without, replace(without, legal_actions=("action",)))
            ]
        except Exception:  # it cannot do without them
            return True
        return chats[0] != chats[1]

    def legal_actions(self, tree: Tree) -> list[Actions | None]:
        """The legal actions at each node, by taking all actions of the tree again.

        Raises:
            DataError: the environment is too slow for that, or has changed.
        """
        if not self.env.spec.instant:
            raise DataError(
                "The prompts name the legal actions, which only steps in the environment tell; "
                "they are not taken again, because its steps are not instant."
            )
        try:
            return asyncio.run(self._replayed(tree))
        except DataError:
            raise
        except Exception as cause:  # an environment may raise anything
            raise DataError(f"The environment cannot take the actions again: {cause}") from cause

    async def _replayed(self, tree: Tree) -> list[Actions | None]:
        task = self._task(tree.task_id)
        seed = derive_seed(self.recipe.seed, task.id, "reset")
        states: list[Any] = []
        for node in tree.nodes:
            if node.parent is None:
                state = await self.env.reset(task, seed=seed)
            else:
                state = (await self.env.step(states[node.parent.id], node.action)).state
            if self.env.observe(state) != node.observation:
                raise DataError(
                    f"The environment observes something else at node {node.id} than it did in "
                    "the run, so that its prompts are not known."
                )
            states.append(state)
        return [_actions(self.env, state) for state in states]

    def _task(self, task_id: str) -> Task:
        split = self.recipe.tasks.split
        found = next((task for task in self.env.tasks(split) if task.id == task_id), None)
        if found is None:
            raise DataError(f"Task {task_id!r} is no longer in split {split!r}.")
        return found


def _turns(node: Node, paths: list[tuple[Turn, ...]]) -> tuple[Turn, ...]:
    """What was seen and done on the way to `node`, given that of all nodes before it."""
    parent = node.parent
    if parent is None:
        return ()
    tokens = node.proposal.tokens if node.proposal else None
    return (*paths[parent.id], Turn(parent.observation, node.action, node.reward, tokens))


def _actions(env: Environment[Any], state: Any) -> Actions | None:
    legal = env.legal_actions(state)
    return None if legal is None else tuple(legal)
