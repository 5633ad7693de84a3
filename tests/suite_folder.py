"""A suite's folder as `agentsearch eval` leaves it, made up from a seed and without a model."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from agentsearch.data.runs import tree_name
from agentsearch.runner import wilson
from agentsearch.tree import Tree

STRENGTH = {
    "random": -2.2,
    "policy only": -0.6,
    "self-consistency": -0.2,
    "best-of-N": 0.6,
    "beam": 0.7,
    "best-first": 1.1,
    "MCTS": 1.3,
    "oracle": 9.0,
}
BUDGETS = {"32 calls": {"calls": 32, "iterations": 1000}, "2500 tokens": {"tokens": 2500}}
SHARE = {"random": 0.0, "policy only": 0.2, "oracle": 0.0}
STEPS = ("go forward", "turn left", "turn right", "pick up the key", "toggle")
KEPT_TREES = 12


@dataclass(frozen=True)
class Plan:
    """What to make up."""

    envs: tuple = ("go to", "pick up", "put next to")
    rows: tuple = tuple(STRENGTH)
    budgets: tuple = tuple(BUDGETS)
    limits: dict | None = None
    tasks: int = 40
    seeds: tuple = (0,)
    headline: str | None = "MCTS"
    title: str = "BabyAI-Text with the built-in model: the policy alone and with search"


def make_suite_folder(folder, plan=None):
    """Write the folder; returns what `table.json` holds."""
    plan = plan or Plan()
    limits = plan.limits or {name: BUDGETS[name] for name in plan.budgets}
    results = [
        outcome(plan, env, budget, limits[budget], row, seed, i)
        for env in plan.envs
        for budget in plan.budgets
        for row in plan.rows
        for seed in plan.seeds
        for i in range(plan.tasks)
    ]
    envs = (["all"] if len(plan.envs) > 1 else []) + list(plan.envs)
    compare = [row for row in ("policy only", "best-of-N") if row in plan.rows]
    table = {
        "suite": {
            "name": "made-up",
            "title": plan.title,
            "baseline": "policy only",
            "headline": plan.headline,
            "compare": compare,
            "budgets": limits,
            "envs": list(plan.envs),
            "rows": list(plan.rows),
            "seeds": list(plan.seeds),
            "per": "decision",
        },
        "made_with": {
            "agentsearch": "0.1.0",
            "commit": "9e0da76551378a92ad240b91aa74fd3969301bc7",
            "python": "3.11.7",
            "packages": {"networkx": "3.6.1", "torch": "2.13.0"},
            "models": ["tiny-v2@e7fda79eebd1"],
            "date": "2026-11-20T18:35:43+00:00",
        },
        "rows": [
            cell(plan, compare, results, env, budget, row)
            for budget in plan.budgets
            for env in envs
            for row in plan.rows
        ],
        "results": results,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text("name: made-up\n")
    (folder / "table.json").write_text(json.dumps(table))
    for each in results:
        write_run(folder, each)
    return table


def outcome(plan, env, budget, limits, row, seed, i):
    rng = random.Random(f"{env} {budget} {row} {seed} {i}")
    hard = random.Random(f"{env} {i}").gauss(0, 1) + 0.5 * plan.envs.index(env)
    calls_limit = limits.get("calls") or limits.get("tokens", 0) / 110
    gain = 0.25 * (calls_limit / 32) if row not in SHARE else 0.0
    correct = rng.gauss(0, 0.6) + STRENGTH.get(row, 0.4) + gain > hard
    kind = rng.random() if not correct else 1.0
    steps = 0 if 0.04 <= kind < 0.08 else rng.randint(3, 40)
    task = f"babyai/{env.replace(' ', '-')}/{i:03d}"
    calls = round(calls_limit * SHARE.get(row, rng.uniform(0.8, 1.0)) * 3)
    where = f"{row}-{budget}-{env}-{seed}".replace(" ", "-").lower()
    reason = "reached the goal" if correct else f"the agent stands {steps} steps from the red ball"
    if 0.5 < kind < 0.7:
        reason = f"'box {i}' was opened instead of 'key {steps}'"
    return {
        "env": env,
        "budget": budget,
        "row": row,
        "seed": seed,
        "task_id": task,
        "status": "failed" if kind < 0.04 else "ok",
        "correct": correct,
        "credit": float(correct),
        "score": round(0.8 * correct, 2),
        "reason": reason if kind >= 0.04 else "",
        "error": f"EngineError: generate: server lost after {steps} s" if kind < 0.04 else "",
        "truncated": bool(steps) and 0.08 <= kind < 0.3,
        "stop": "no action" if not steps else "max_steps" if kind < 0.3 else "budget:calls",
        "decisions": 3,
        "steps": steps,
        "usage": {
            "calls": calls,
            "tokens": calls * 110,
            "env_steps": steps + calls // 2,
            "seconds": calls * 0.04,
        },
        "folder": where,
        "tree": f"{where}/trees/{tree_name(task)}" if i < KEPT_TREES else None,
    }


def cell(plan, compare, results, env, budget, row):
    lines = [r for r in results if r["budget"] == budget and env in ("all", r["env"])]
    ours = [r for r in lines if r["row"] == row]
    solved = sum(r["correct"] for r in ours)
    low, high = wilson(solved, len(ours))
    rate = {"estimate": solved / len(ours), "low": low, "high": high}
    differences = {}
    for versus in compare:
        other = sum(r["correct"] for r in lines if r["row"] == versus)
        middle = (solved - other) / len(ours)
        half = 1.1 / len(ours) ** 0.5
        reliable = len(ours) >= 20
        found = {"estimate": middle, "low": middle - half, "high": middle + half}
        if versus != row:
            differences[versus] = {**found, "reliable": reliable}
    cut = sum(r["stop"] == "max_steps" for r in ours)
    return {
        "env": env,
        "budget": budget,
        "row": row,
        "label": f"{row} (ORACLE: policy)" if row == "oracle" else row,
        "setting": "act, reward hidden, can go back",
        "seeds": list(plan.seeds),
        "tasks": len(ours) // len(plan.seeds),
        "oracle": ["policy"] if row == "oracle" else [],
        "success": rate,
        "score": {name: 0.8 * value for name, value in rate.items()},
        "differences": differences,
        "per_task": {
            "steps": mean([r["steps"] for r in ours]),
            **{
                kind: mean([r["usage"][kind] for r in ours])
                for kind in ("calls", "tokens", "env_steps", "seconds")
            },
        },
        "counts": {
            "invalid_actions": len(ours) // 3 if row != "oracle" else 0,
            "parse_failures": 2,
            "fallbacks": 12 if row == "beam" else 0,
            "truncations": 0,
            "truncated_episodes": cut,
            "failures": sum(r["status"] == "failed" for r in ours),
            "mismatches": 0,
        },
        "unsupported": row == "beam",
        "read_off": "64 calls" if row == "best-first" and budget == "32 calls" else None,
        "stored": 5 if row == "random" else 0,
        "folders": [] if env == "all" else sorted({r["folder"] for r in ours}),
    }


def mean(numbers):
    middle = sum(numbers) / len(numbers)
    half = (sum((x - middle) ** 2 for x in numbers) ** 0.5) / len(numbers) * 1.96
    return {"estimate": middle, "low": middle - half, "high": middle + half}


def write_run(folder, result):
    run = folder / result["folder"]
    (run / "trees").mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text("mode: act\nreward_visible: false\n")
    if result["tree"] is not None:
        made_up_tree(result["task_id"], result["steps"]).save(folder / result["tree"])


def made_up_tree(task_id, steps, width=4):
    """A path of a few steps with siblings, of which the first is carried out."""
    tree = Tree(grown_root(), task_id, "Go to the red ball.")
    node, committed = tree.root, []
    for depth in range(min(steps, 6)):
        for k, action in enumerate(STEPS[:width]):
            child = tree.add(node, action, None, f"You see a wall {depth + k} steps ahead.")
            child.visits, child.value_sum, child.prior = 9 - depth - k, 3.0 - 0.4 * k, 0.25
        node = node.children[0]
        committed.append(node.id)
    tree.meta["committed"] = committed
    return tree


def grown_root():
    from agentsearch.tree import Node

    return Node(0, None, "You see a red ball 3 steps forward and a wall 2 steps left.")
