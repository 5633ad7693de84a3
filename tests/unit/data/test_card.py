"""The numbers of the data card, counted by hand."""

import dataclasses
from collections import Counter

from agentsearch.data.card import Tally, describe, markdown
from agentsearch.data.rows import table
from tests.unit.data.test_rows import PAIR, RL, SFT


def test_numbers_of_each_file():
    other = dataclasses.replace(SFT, task_id="u", policy_version="")
    tally = Tally(Counter(paths=5), Counter({"paths without token ids": 3}), 1.0)
    found = describe("sft", table([SFT, SFT, other], "sft"), tally)
    assert (found["rows"], found["tasks"]) == (3, 2)
    assert found["policy_version"] == {"p@1": 2, "unknown": 1} and found["env"] == {"toy": 3}
    assert (found["tokens"], found["trained_tokens"]) == (9, 3)
    assert (found["mean_tokens"], found["longest_tokens"]) == (3.0, 3)
    assert found["drops"] == {"paths without token ids": 3} and found["seen"] == {"paths": 5}


def test_pairs_tell_the_share_of_unvisited_siblings():
    seen = Counter({"siblings": 8, "unvisited siblings": 2})
    unvisited = dataclasses.replace(PAIR, unvisited=True, margin=0.3)
    found = describe("preferences", table([PAIR, unvisited], "preferences"), Tally(seen, most=0.6))
    assert found["unvisited_siblings_share"] == 0.25 and found["unvisited_pairs_share"] == 0.5
    assert found["kinds"] == {"step": 2} and round(found["mean_margin"], 9) == 0.4
    assert found["widest_margin_of_explored_siblings"] == 0.6
    assert (found["tokens"], found["trained_tokens"]) == (2 * (3 + 2), 2 * 3)
    assert (found["mean_tokens"], found["longest_tokens"]) == (2.5, 3)


def test_groups_that_teach_nothing_are_counted():
    failed = dataclasses.replace(RL, reward=0.0, correct=False, truncated=True, path_id=4)
    alone = dataclasses.replace(RL, group_id="r/u")
    found = describe("rl_groups", table([RL, failed, alone], "rl_groups"), Tally())
    assert (found["groups"], found["groups_of_one_path"], found["groups_of_equal_rewards"]) == (
        2,
        1,
        1,
    )
    assert (found["correct"], found["truncated"]) == (2, 1)


def test_the_card_for_people_escapes_what_breaks_tables():
    source = {
        "run": "a|b",
        "env": "toy",
        "search": "mcts",
        "policy": "prompted",
        "finished": 3,
        "planned": 4,
        "failed": 0,
        "paths": 2,
        "replayed": 2,
        "correct": 1,
        "results_sha256": "ab12",
        "models": ["m@1"],
    }
    card = {
        "sources": [source],
        "notes": ["a note"],
        "files": {"sft": describe("sft", table([SFT], "sft"), Tally())},
        "dropped_paths": {"paths that led elsewhere": 2},
        "options": {"theta": 0.2},
    }
    text = markdown(card)
    assert "a\\|b" in text and "| 3 of 4 |" in text and "- a note\n" in text
    assert "paths that led elsewhere | 2" in text and "| theta | 0.2 |" in text
    assert 'load_dataset("parquet", data_files="sft.parquet", split="train")' in text
    assert "preferences.parquet" not in text
