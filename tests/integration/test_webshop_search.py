"""Every search shops with the built-in model, out of the box, act and plan, reward hidden."""

import pytest

pytest.importorskip("torch", reason="the recipes use the built-in model")

from agentsearch.commands import search  # noqa: E402
from agentsearch.config import recipe_names  # noqa: E402

RECIPES = [name for name in recipe_names() if name.startswith("webshop/")]
FEW = ["tasks.limit=2", "budget.calls=6", "env.max_steps=6", "env.products=100"]
FEW += ["tasks.split=test"]  # a hundred products have few goals


@pytest.mark.parametrize("mode", ["act", "plan"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_in_both_modes(recipe, mode, tmp_path):
    report = search(recipe, [*FEW, f"mode={mode}"], tmp_path)
    assert report.summary["tasks"] == 2 and report.summary["failed"] == 0
    assert f"{mode}, reward hidden, can go back, generated-0-100, " in report.summary["setting"]
    for result in report.results:
        assert result.usage.calls <= 6 * (6 if mode == "act" else 1)
    if recipe == "webshop/oracle":
        assert report.summary["success"] == 1.0


def test_there_is_a_recipe_for_each_kind_of_search():
    kinds = {"mcts", "best_first", "beam", "best_of_n", "policy_only", "rule", "random", "oracle"}
    assert {name.partition("/")[2] for name in RECIPES} == kinds
