"""Run folders become training data: what a user does, and what is refused."""

import dataclasses
import gzip
import itertools
import json
import random
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from agentsearch import commands
from agentsearch.budget import Metered
from agentsearch.cli.main import app
from agentsearch.collecting import Options, collect, options
from agentsearch.data import rows
from agentsearch.data.card import Tally
from agentsearch.data.runs import Run, tree_name
from agentsearch.data.segments import segments
from agentsearch.data.sft import sft_rows
from agentsearch.engines.hf import find_model
from agentsearch.errors import ConfigError, DataError
from agentsearch.policies.prompted import Prompted
from agentsearch.policies.prompts import Prompts
from agentsearch.policies.react import ReAct, ThoughtPrompts
from agentsearch.seeds import derive_seed
from agentsearch.tree import Tree
from agentsearch.types import Completion, Tokens
from tests.unit.data.token_trees import RIGHT, grow_wide, labelled

LETTERS = {
    "env": {"name": "tests.toy:Letters"},
    "policy": {
        "name": "prompted",
        "engine": {"name": "tests.unit.data.token_trees:ByteEngine"},
    },
    "value": "uniform",
    "search": {"name": "mcts", "width": 8},
    "budget": {"calls": 300, "iterations": 100},
    "tasks": {"split": "train", "limit": 4},
    "reward_visible": True,
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def search(name="spell", *overrides):
    """A run on the letter tree."""
    return commands.search(LETTERS, [f"run={name}", *overrides]).folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One run that the tests below only read."""
    folder = tmp_path_factory.mktemp("kept")
    return commands.search(LETTERS, ["run=spell"], folder).folder


@pytest.fixture
def run(kept, tmp_path):
    """A copy of that run, to be changed at will."""
    return Path(shutil.copytree(kept, tmp_path / "spell"))


def cli(*args):
    return CliRunner().invoke(app, ["collect", *map(str, args)], catch_exceptions=False)


def change_tree(run, change, task_id="letters/train/0"):
    """Load, change and save a tree."""
    tree = Run(run).tree(task_id)
    change(tree)
    tree.save(run / "trees" / tree_name(task_id))


def change_config(run, **fields):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, **fields}))


def change_lines(run, change):
    path = run / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


# -- what comes out --------------------------------------------------------------------


def test_files_load_and_agree_with_the_trees(kept):
    report = collect([kept], "data")
    trees = {line["task_id"]: Run(kept).tree(line["task_id"]) for line in Run(kept).results}
    loaded = {
        kind: datasets.load_dataset(
            "parquet", data_files=f"data/{kind}.parquet", split="train", cache_dir="cache"
        )
        for kind in rows.KINDS
    }
    assert {kind: len(each) for kind, each in loaded.items()} == {
        kind: report.card["files"][kind]["rows"] for kind in rows.KINDS
    }
    for row in loaded["sft"]:
        path = [trees[row["task_id"]].nodes[i] for i in row["node_ids"]]
        assert "".join(node.action for node in path) == "cab"
        [segment] = segments(path)
        assert tuple(row["input_ids"]) == segment.prompt_ids + segment.completion_ids
        assert row["completions"] == ["c", "a", "b"] and row["policy_version"] == "bytes@1"
    assert sorted(loaded["sft"]["task_id"]) == sorted(trees)  # one success each
    ends = {task_id: sum(node.done for node in tree.nodes) for task_id, tree in trees.items()}
    assert Counter(loaded["rl_groups"]["task_id"]) == ends
    for row in loaded["rl_groups"]:
        leaf = trees[row["task_id"]].nodes[row["path_id"]]
        text = "".join(node.action for node in leaf.path()[1:])
        right = sum(a == b for a, b in zip(text, "cab", strict=True))
        assert row["reward"] == right / 3 and row["correct"] == (text == "cab")
        assert row["turn_rewards"] == [0.0, 0.0, float(text == "cab")]
    for row in loaded["preferences"]:
        parent, chosen, rejected = (trees[row["task_id"]].nodes[i] for i in row["node_ids"])
        if row["kind"] == "step":
            assert chosen.parent is rejected.parent is parent
            assert chosen.mean_value - rejected.mean_value == row["margin"] > 0.2
        assert row["ref_chosen_logps"] == pytest.approx(sum(row["chosen_logprobs"]))
    assert set(loaded["preferences"]["kind"]) == {"step", "trajectory"}


def test_the_card_names_sources_filters_and_drops(kept):
    report = collect([kept], "data", options(["theta=0.1"]))
    card = json.loads(Path("data/card.json").read_text())
    assert card == json.loads(json.dumps(report.card))
    [source] = card["sources"]
    assert (source["run"], source["planned"], source["finished"]) == ("spell", 4, 4)
    assert source["env"] == "letters" and source["models"] == ["bytes@1"]
    assert source["paths"] == source["replayed"] >= source["correct"] == 4
    assert card["options"]["theta"] == 0.1 and card["options"]["kinds"] == list(rows.KINDS)
    assert card["files"]["sft"]["policy_version"] == {"bytes@1": 4}
    assert card["files"]["preferences"]["drops"] and card["notes"] == []
    assert "theta | 0.1" in Path("data/card.md").read_text()


def test_equal_runs_give_equal_files_in_whatever_order_tasks_finished(run):
    collect([run], "one")
    change_lines(run, reversed)
    collect([run], "two")
    for kind in rows.KINDS:
        assert rows.path_of("one", kind).read_bytes() == rows.path_of("two", kind).read_bytes()


def test_runs_together_keep_the_first_of_equal_paths(kept):
    again = search("again", "seed=1")
    report = collect([kept, again], "both", options(["kinds=[sft]"]))
    found = rows.read("both", "sft")
    assert found["run"].to_pylist() == ["spell"] * 4 and found["weight"].to_pylist() == [1.0] * 4
    assert report.card["files"]["sft"]["drops"] == {"paths with the same actions as another": 4}
    assert not Path("both/preferences.parquet").exists()


def test_a_run_in_act_mode_gives_the_path_that_was_carried_out():
    folder = search("act", "mode=act", "tasks.limit=2", "search.choose=best_value")
    collect([folder], "data")
    trees = {line["task_id"]: Run(folder).tree(line["task_id"]) for line in Run(folder).results}
    assert all(len(tree.meta["decisions"]) == 3 for tree in trees.values())
    for row in rows.read("data", "sft").to_pylist():
        assert row["node_ids"] == trees[row["task_id"]].meta["committed"]
    parents = {tuple(row["node_ids"])[0] for row in rows.read("data", "preferences").to_pylist()}
    assert len(parents) > 1  # pairs at other nodes than the first


def test_a_dry_run_counts_and_writes_nothing(kept):
    told = []
    report = collect([kept], "data", on_progress=lambda *done: told.append(done), dry_run=True)
    assert report.folder is None and report.card["files"]["sft"]["rows"] == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not list(Path().iterdir())


# -- held-out tasks --------------------------------------------------------------------


def test_held_out_tasks_are_refused_and_no_config_talks_us_out_of_it():
    folder = search("held", "tasks.split=test")
    wanted = r"4 of its 4 tasks, such as 'letters/test/\d', belong to the split 'test'"
    with pytest.raises(ConfigError, match=wanted):
        collect([folder], "data")
    change_config(folder, tasks={"split": "train", "limit": 4})
    with pytest.raises(ConfigError, match=wanted):
        collect([folder], "data")
    change_config(folder, env={"name": "game24"})  # in whose splits there are no such tasks
    with pytest.raises(ConfigError, match=r"are not in the split 'train' of 'game24'"):
        collect([folder], "data")
    assert not Path("data").exists()


def test_one_held_out_task_among_others_is_enough(run):
    change_lines(run, lambda lines: [*lines, {**lines[0], "task_id": "letters/dev/2"}])
    with pytest.raises(ConfigError, match="1 of its 5 tasks, such as 'letters/dev/2'"):
        collect([run], "data")


def test_a_held_out_tree_under_the_name_of_a_train_task_is_refused():
    folder = search("held", "tasks.split=test", "tasks.limit=1")
    change_config(folder, tasks={"split": "train", "limit": 1})
    change_lines(folder, lambda lines: [{**lines[0], "task_id": "letters/train/0"}])
    trees = folder / "trees"
    (trees / tree_name("letters/test/0")).rename(trees / tree_name("letters/train/0"))
    with pytest.raises(DataError, match="holds the tree of 'letters/test/0'"):
        collect([folder], "data")


# -- labels ----------------------------------------------------------------------------


def leaf_of(tree, text):
    """The finished leaf that spells `text`."""
    return next(n for n in tree.nodes if n.done and n.observation == text)


def test_the_verifier_decides_and_not_what_search_believed(run):
    change_config(run, env={"name": "tests.toy:Letters", "word": "cac"})
    collect([run], "data", options(["kinds=[sft]"]))
    assert set(map(tuple, rows.read("data", "sft")["completions"].to_pylist())) == {("c", "a", "c")}


def test_paths_that_lead_elsewhere_now_are_dropped_and_counted(run):
    change_tree(run, lambda tree: setattr(leaf_of(tree, "cab"), "observation", "cub"))
    report = collect([run], "data")
    assert report.card["dropped_paths"] == {
        "paths that led elsewhere when they were taken again": 1
    }
    assert "letters/train/0" not in rows.read("data", "sft")["task_id"].to_pylist()


def test_an_environment_that_raises_costs_only_its_paths(run, caplog):
    before = collect([run], "before").card["sources"][0]
    change_config(run, env={"name": "tests.toy:Letters", "broken": "ca"})
    after = collect([run], "data", options(["kinds=[preferences]"])).card
    assert after["sources"][0]["replayed"] < before["replayed"]
    assert set(after["dropped_paths"]) == {"paths on which the environment raised"}
    assert "no way past ca" in caplog.text


def test_step_pairs_alone_take_no_path_again(run):
    change_config(run, env={"name": "tests.toy:Letters", "broken": "c"})
    card = collect([run], "data", options(["kinds=[preferences]", "trajectory_pairs=false"])).card
    assert card["dropped_paths"] == {} and card["sources"][0]["replayed"] == 0
    assert card["files"]["preferences"]["kinds"].keys() == {"step"}


def test_outcomes_are_what_the_verifier_says_of_paths_taken_again(run):
    words = ["kinds=[preferences]", "trajectory_pairs=false", "values=outcomes", "theta=0.1"]
    card = collect([run], "data", options(words)).card
    assert card["sources"][0]["replayed"] > 0
    values = rows.read("data", "preferences")["chosen_value"].to_pylist()
    assert values and all(0 < value <= 1 for value in values)


def test_a_tree_of_another_start_is_dropped_whole(run):
    change_tree(run, lambda tree: setattr(tree.root, "observation", "x"))
    change_tree(run, lambda tree: setattr(tree, "prompt", "Do as you like."), "letters/train/1")
    report = collect([run], "data")
    assert report.card["dropped_paths"] == {"trees that begin otherwise than the task does now": 2}
    for kind in rows.KINDS:
        assert set(rows.read("data", kind)["task_id"].to_pylist()) == {
            "letters/train/2",
            "letters/train/3",
        }


def test_a_failed_task_without_a_tree_is_counted_and_a_damaged_tree_is_an_error(run):
    path = run / "trees" / tree_name("letters/train/0")
    path.unlink()
    with pytest.raises(DataError, match="no such tree file"):
        collect([run], "data")
    change_lines(run, lambda lines: [{**each, "status": "failed"} for each in lines])
    assert collect([run], "data").card["dropped_paths"] == {"tasks that left no tree": 1}
    path.write_bytes(gzip.compress(b"{"))
    with pytest.raises(DataError, match="it is damaged, run the task again"):
        collect([run], "more")


# -- problems --------------------------------------------------------------------------


def test_no_success_says_so_and_leaves_the_other_files():
    folder = search("none", "env.word=zzz")
    with pytest.raises(
        DataError, match=r"sft: no success among \d+ finished paths of 4 tasks; the highest credit"
    ):
        collect([folder], "data", options(["kinds=[sft]"]))
    assert not Path("data").exists()
    report = collect([folder], "data")  # where no kind is named, the others are made
    assert set(report.card["files"]) == {"rl_groups"}
    assert any("sft: no success" in note for note in report.card["notes"])


def test_no_pair_above_theta_tells_the_widest_margin(kept):
    with pytest.raises(
        DataError,
        match=r"no pair above theta=2: the widest margin of \d+ explored pairs of 4 tasks is 1\.",
    ):
        collect([kept], "data", options(["theta=2", "kinds=[preferences]"]))


def test_an_engine_without_token_ids_is_named():
    folder = search("mute", "policy.engine.tokens=false")
    with pytest.raises(DataError) as error:
        collect([folder], "data")
    text = str(error.value)
    assert re.search(r"sft: none of \d+ finished paths of 4 tasks can be trained on", text)
    assert re.search(r"Dropped: \d+ paths without token ids", text)
    assert "openai with logprobs=true and a vLLM server" in text


def test_scored_actions_give_no_groups():
    folder = search("scored", "policy.name=scoring")
    report = collect([folder], "data")
    assert set(report.card["files"]) == {"sft", "preferences"}
    [note] = report.card["notes"]
    assert re.search(r"rl_groups: none of .* Dropped: \d+ paths scored, not sampled", note)


def test_an_unfinished_run_and_mixed_versions_are_noted(kept):
    other = search("other", "tasks.start=4", "policy.engine.version=bytes@2")
    change_lines(other, list)
    change_config(other, tasks={"split": "train", "start": 2, "limit": 3})
    report = collect([kept, other], "data")
    assert report.card["notes"] == [
        "other: only 1 of 3 tasks have finished.",
        "The rows are of 2 policy versions; trainers refuse that unless told.",
    ]
    assert report.card["files"]["sft"]["policy_version"] == {"bytes@1": 4, "bytes@2": 1}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["thetta=1"], "thetta: unknown key. Did you mean 'theta'?"),
        (["theta=-1"], "theta=-1.0: must be at least 0."),
        (["alpha=2"], "alpha=2.0: must lie in [0, 1]."),
        (["discount=0"], "discount=0.0: must lie in (0, 1]."),
        (["pairs_per_node=0"], "pairs_per_node=0: must be at least 1."),
        (["kinds=[]"], "kinds=[]: asks for no file; name some of sft, preferences, rl_groups."),
        (["min_credit=high"], "min_credit='high': input should be a valid number"),
    ],
)
def test_a_wrong_option_is_one_sentence(overrides, message):
    with pytest.raises(ConfigError) as error:
        options(overrides)
    assert message in str(error.value)


def test_folders_that_cannot_be_used(kept, run):
    with pytest.raises(ConfigError, match="spell: 2 of the runs have this name"):
        collect([kept, run], "data")
    with pytest.raises(ConfigError, match="already holds something; name another folder"):
        collect([kept], run)
    Path("file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        collect([kept], "file")
    with pytest.raises(ConfigError, match="no run to collect from"):
        collect([], "data")
    (run / "results.jsonl").write_text("")
    with pytest.raises(DataError, match="none of its tasks has finished"):
        collect([run], "data")


def test_what_an_ended_process_left_is_written_over(kept):
    Path("data").mkdir()  # empty: it may stay
    Path("data.part").mkdir()
    Path("data.part/sft.parquet").write_text("half a file")
    collect([kept], "data")
    assert len(rows.read("data", "sft")) == 4 and not Path("data.part").exists()
    Path("more.part").mkdir()
    Path("more.part/mine.txt").touch()
    with pytest.raises(ConfigError, match="more.part: already holds something"):
        collect([kept], "more")
    assert Path("more.part/mine.txt").exists() and not Path("more").exists()


def test_without_the_extra_it_is_named(kept, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'agentsearch\[train\]'"):
        collect([kept], "data")


# -- the command -----------------------------------------------------------------------


def test_the_command_as_a_user_meets_it(kept):
    done = cli("spell", "--runs", kept.parent, "--to", "data", "theta=0.1")
    assert done.exit_code == 0, done.output
    assert re.search(r"sft +4 rows of 4 tasks", done.stdout)
    assert "0% of pairs with an unvisited sibling" in " ".join(done.stdout.split())
    assert "data    (card.md tells more)" in done.stdout
    card = json.loads(cli(kept, "--dry-run", "--json", "theta=0.1").stdout)
    assert card == json.loads(Path("data/card.json").read_text())


def test_the_command_has_help_and_refuses_in_one_line(kept):
    helped = cli("--help").output
    assert "Examples:\n    agentsearch collect" in helped and "--dry-run" in helped
    assert all(each.name in helped for each in dataclasses.fields(Options))
    for args, message in (
        ((kept, "--to", kept), "already holds something"),
        (("nothing", "--to", "data"), "run 'nothing': no such folder"),
        ((kept, "--to", "data", "alpha=2"), "alpha=2.0: must lie in [0, 1]."),
    ):
        refused = cli(*args)
        assert refused.exit_code == 2 and message in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert cli(kept).exit_code == 2 and "--dry-run" in cli(kept).stderr


# -- token by token --------------------------------------------------------------------

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "<|begin|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
HEADERS = ["<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def a_tokenizer(template):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find_model("tiny"))
    if template == LLAMA:
        tokenizer.add_special_tokens({"additional_special_tokens": HEADERS})
        tokenizer.eos_token = "<|eot_id|>"
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


class Sampler:
    """Writes random words behind a template, and remembers what it saw and wrote.

    Every seventh reply is written letter by letter, as no tokenizer would.
    """

    version = "sampler@1"

    def __init__(self, tokenizer, thought):
        self.tokenizer, self.thought = tokenizer, thought
        self.calls = {}

    async def generate(self, request):
        chat = [{"role": m.role, "content": m.content} for m in request.messages]
        prompt = tuple(
            self.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
        )
        return [self.written(prompt, derive_seed(request.seed, i)) for i in range(request.n)]

    def written(self, prompt, seed):
        rng = random.Random(seed)
        text = " ".join(rng.choices(("go", "left", "the red ball", "13 - 9", "(4)"), k=3))
        if self.thought:
            text = f"Thought: {rng.choice(('yes', 'no'))}\nAction: {text}"
        pieces = list(text) if rng.randrange(7) == 0 else [text]
        ids = [id for piece in pieces for id in self.tokenizer.encode(piece)]
        ids.append(self.tokenizer.eos_token_id)
        logprobs = tuple(float(np.float32(-rng.random())) for _ in ids)
        self.calls[logprobs] = (prompt, tuple(ids))
        tokens = Tokens(prompt, tuple(ids), logprobs, (True,) * len(ids))
        return Completion(text, "stop", tokens, sum(logprobs), len(prompt), 0, len(ids), "v@1")

    async def close(self):
        pass


@pytest.mark.parametrize("template", [None, CHATML, LLAMA], ids=["built-in", "chatml", "llama"])
@pytest.mark.parametrize(
    ("policy", "prompts"),
    [(Prompted, Prompts()), (Prompted, Prompts(history=2)), (ReAct, ThoughtPrompts())],
    ids=["whole", "window", "react"],
)
def test_segments_are_what_the_sampler_saw(template, policy, prompts, tmp_path):
    """3,400 nodes each, so 10,200 for every template."""
    sampler = Sampler(a_tokenizer(template), policy is ReAct)
    grown = grow_wide(Metered(sampler), policy, nodes=3400, width=4, prompts=prompts)
    grown.save(tmp_path / "tree.json.gz")
    tree = Tree.load(tmp_path / "tree.json.gz")
    assert len(tree) >= 3400
    ends = {node.id: RIGHT for node in tree.nodes if not node.children}
    found = sft_rows([labelled(tree, ends)], Tally(), successes_per_task=len(tree))
    rows.write(tmp_path, "sft", rows.table(found, "sft"))
    seen, lengths = set(), Counter()
    for row in rows.read(tmp_path, "sft").to_pylist():
        turns = dict.fromkeys(turn for turn in row["turn_ids"] if turn >= 0)
        lengths[len(turns)] += 1
        on = 0
        for turn, number, text in zip(turns, row["node_ids"], row["completions"], strict=True):
            places = [i for i, each in enumerate(row["turn_ids"]) if each == turn]
            start, end = places[0], places[-1] + 1
            assert places == list(range(start, end))
            prompt, ids = sampler.calls[tuple(row["logprobs"][start:end])]
            assert tuple(row["input_ids"][:start]) == prompt
            assert tuple(row["input_ids"][start:end]) == ids
            assert sampler.tokenizer.decode(ids[:-1]) == text
            assert tree.nodes[number].depth == turn + 1
            on += end - start
            seen.add(number)
        assert sum(row["completion_mask"]) == on
        assert all(row["completion_mask"][i] for i, turn in enumerate(row["turn_ids"]) if turn >= 0)
    assert seen == set(range(1, len(tree)))  # every node but the root is in some row
    if policy is ReAct:  # thoughts are not shown again
        assert set(lengths) == {1}
    else:
        assert max(lengths) > 2 and lengths[1]


# -- a real run ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    [["search=mcts", "search.width=4"], ["search=agent_q", "search.width=3", "chooser=prompted"]],
    ids=["mcts", "agent_q"],
)
def test_the_built_in_policy_on_train_puzzles(algorithm):
    args = ["search", "game24/mcts", "--policy", "tiny", "--run", "r", "--quiet", *algorithm]
    args += ["value=rollout", "reward_visible=true", "budget.calls=40"]
    searched = CliRunner().invoke(app, [*args, "tasks.split=train", "tasks.limit=3"])
    assert searched.exit_code == 0, searched.output
    done = cli("r", "--to", "data", "theta=0.05")
    assert done.exit_code == 0, done.output
    found = rows.read("data", "sft").to_pylist()
    assert found and {row["env"] for row in found} == {"game24"}
    tokenizer = a_tokenizer(None)
    for row in found:
        trained = zip(row["turn_ids"], row["input_ids"], strict=True)
        by_turn = itertools.groupby((each for each in trained if each[0] >= 0), key=lambda e: e[0])
        texts = [tokenizer.decode([id for _, id in group][:-1]) for _, group in by_turn]
        assert texts == row["completions"] and len(texts) == 3
        assert row["policy_version"].startswith("tiny")
    if "search=agent_q" not in algorithm:
        return
    pairs = [row for row in rows.read("data", "preferences").to_pylist() if row["kind"] == "step"]
    assert pairs
    for row in pairs:
        chosen = Run("runs/r").tree(row["task_id"]).nodes[row["node_ids"][1]]
        assert row["chosen_value"] == 0.5 * chosen.mean_value + 0.5 * chosen.extra["critic"]
