"""The built-in model: tokenizer, chat template, demonstrations, training, shipped files."""

import json
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from agentsearch_envs import game24  # noqa: E402
from recipes.tiny import demonstrations as demos  # noqa: E402
from recipes.tiny import evaluate_game24  # noqa: E402
from recipes.tiny import game24 as chats  # noqa: E402
from recipes.tiny.card import card  # noqa: E402
from recipes.tiny.card_tables import rate, sampled_rate  # noqa: E402
from recipes.tiny.evaluate import compare, evaluate, rounded  # noqa: E402
from recipes.tiny.evaluate_game24 import auc, pass_at, reaches  # noqa: E402
from recipes.tiny.generate import ChatModel, Sampler  # noqa: E402
from recipes.tiny.model import Learner, common_prefix, new_model  # noqa: E402
from recipes.tiny.settings import load  # noqa: E402
from recipes.tiny.tokenizer import build as build_tokenizer  # noqa: E402
from recipes.tiny.tokenizer import of as tokenizer_of  # noqa: E402
from recipes.tiny.train import learning_rate, scheduled_rate, train  # noqa: E402
from tests.chats import agree_with_the_template  # noqa: E402

MODELS = Path(__file__).parents[2] / "agentsearch" / "_models"
SHIPPED = MODELS / "tiny-v1"
SETTINGS = load("tiny-v1")
FILES = {
    "README.md",
    "config.json",
    "evaluation.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
TOOLS = [
    {"type": "function", "function": {"name": "get_price", "description": "The price."}},
    {"type": "function", "function": {"name": "buy", "parameters": {"type": "object"}}},
]


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(SHIPPED)


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)


@pytest.fixture(scope="module")
def made():
    return list(chats.demonstrations(SETTINGS, 3000, random.Random(7)))


# Tokenizer


def test_every_number_to_999_is_one_token(tokenizer):
    for number in range(1000):
        assert len(tokenizer.encode(f"{number}")) == 1, number
        assert len(tokenizer.encode(f" {number}")) == 1, number


def test_size_and_special_tokens(tokenizer):
    assert len(tokenizer) == 8192
    assert tokenizer.encode("<|endoftext|><|im_start|><|im_end|>") == [0, 1, 2]
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize(
    "text",
    [
        "Numbers: 4 9 10 13",
        "naïve Ωμέγα 日本語 🙂🏽 \u200d e\u0301 \x00 \ufeff",
        '{"name": "f", "arguments": {"x": [1, 2.50, null]}}\n\t  indented\r\n',
        "B07XYZ1234 [SEP] $1,234.99 [SEP] click[Buy Now]",
        "  leading and trailing  ",
    ],
)
def test_any_text_round_trips(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("word", ["sure", "likely", "impossible", " forward", " SEP", " Numbers"])
def test_words_of_later_environments_are_short(tokenizer, word):
    assert len(tokenizer.encode(word)) <= 2


@pytest.mark.slow
def test_recipe_rebuilds_the_shipped_tokenizer(tokenizer):
    built = build_tokenizer(SETTINGS).backend_tokenizer.to_str()
    assert built == tokenizer.backend_tokenizer.to_str()


def test_a_model_that_goes_on_keeps_its_tokenizer(tokenizer):
    kept = tokenizer_of(load("tiny-v2"))
    assert kept.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert kept.chat_template == tokenizer.chat_template


# Chat template

CHAT = [
    {"role": "system", "content": "Make 24.\nReply with the next action only."},
    {"role": "user", "content": "Numbers: 4 9 10 13"},
    {"role": "assistant", "content": "13 - 9 "},
    {"role": "tool", "content": '{"ok": true}'},
    {"role": "assistant", "content": "\n<tool_call>{}</tool_call>"},
    {"role": "user", "content": "  spaces stay  "},
    {"role": "assistant", "content": "ünïcode 🙂"},
    {"role": "user", "content": ""},
]


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("first", [0, 1])
def test_template_preserves_prefixes(tokenizer, tools, first):
    chat = CHAT[first:]

    def ids(messages, generate=False):
        return tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=generate, return_dict=True
        )["input_ids"]

    for k in range(1, len(chat)):
        if chat[k]["role"] != "assistant":
            continue
        answer = tokenizer.encode(chat[k]["content"] + "<|im_end|>")
        prefix = ids(chat[:k], generate=True) + answer
        for longer in range(k + 1, len(chat) + 1):
            for generate in (False, True):
                assert ids(chat[:longer], generate)[: len(prefix)] == prefix


@pytest.mark.parametrize("first", [0, 1])
def test_tools_stand_in_the_system_turn_as_json_lines(tokenizer, first):
    text = tokenizer.apply_chat_template(CHAT[first:], tools=TOOLS, tokenize=False)
    system = text.split("<|im_end|>")[0]
    assert system.startswith("<|im_start|>system\n")
    lines = system.split("<tools>\n")[1].split("\n</tools>")[0].splitlines()
    assert [json.loads(line) for line in lines] == TOOLS


def test_tool_calls_are_rendered_as_json(tokenizer):
    call = {"name": "get_price", "arguments": {"item": "tea"}}
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
    text = tokenizer.apply_chat_template([CHAT[1], message], tokenize=False)
    assert json.loads(re.search("<tool_call>(.*)</tool_call>", text)[1]) == call


def test_generation_mask_covers_answers_and_their_end(tokenizer):
    out = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(out["input_ids"], out["assistant_masks"], strict=True)
    answers = [m["content"] + "<|im_end|>" for m in CHAT if m["role"] == "assistant"]
    assert tokenizer.decode([i for i, learnt in pairs if learnt]) == "".join(answers)


# Demonstrations


def roots(demonstration):
    """Every set of four numbers shown anywhere in the chat."""
    for message in demonstration.messages:
        for line in re.findall(r"Numbers: ([0-9 ]+)", message.content):
            if len(numbers := tuple(map(int, line.split()))) == 4:
                yield numbers


def test_no_dev_or_test_puzzle_in_any_role(made):
    train, hidden = set(chats.puzzles("train")), set(chats.puzzles("dev") + chats.puzzles("test"))
    assert {d.role for d in made} == set(demos.ROLES)
    for demonstration in made:
        shown = list(roots(demonstration))
        assert shown
        for numbers in shown:
            assert not game24.is_published_test(numbers)
            assert numbers not in hidden
            assert numbers in train or not game24.solvable(numbers, "rational")


def test_held_out_unsolvable_puzzles_are_not_shown(made):
    kept = set(chats.unsolvable_puzzles(True))
    assert kept and not any(numbers in kept for d in made for numbers in roots(d))


def replayed(demonstration):
    """(answer, numbers before it) of the learnt turns."""
    for place in demonstration.learn:
        shown = demonstration.messages[place - 1].content.split("\n")[0]
        numbers = tuple(map(int, shown.removeprefix("Numbers: ").split()))
        yield demonstration.messages[place].content, numbers


def test_answers_are_right(made):
    for demonstration in made:
        for answer, numbers in replayed(demonstration):
            good = game24.good_actions(numbers, "integer")
            if demonstration.role == "propose":
                assert answer in good
            elif demonstration.role == "judge":
                assert (answer == "sure") == game24.solvable(numbers, "integer")
            elif demonstration.role == "choose":
                listed = demonstration.messages[-2].content.split("\n")[2:]
                options = [line.split(": ", 1)[1] for line in listed]
                assert [o in good for o in options].index(True) == int(answer) - 1
                assert sum(o in good for o in options) == 1 and 2 <= len(options) <= 6
            else:
                assert reaches(numbers, answer)


def test_roles_and_judgements_are_in_their_shares(made):
    count = Counter(d.role for d in made)
    assert count["propose"] / len(made) == pytest.approx(0.5, abs=0.04)
    assert count["judge"] / len(made) == pytest.approx(0.35, abs=0.04)
    yes = [d.messages[-1].content == "sure" for d in made if d.role == "judge"]
    assert sum(yes) / len(yes) == pytest.approx(0.5, abs=0.06)


def test_same_seed_same_demonstrations(made):
    again = chats.demonstrations(SETTINGS, 3000, random.Random(7))
    assert list(islice(again, 50)) == made[:50]


def test_encoder_agrees_with_the_chat_template(made, tokenizer):
    agree_with_the_template(demos.Encoder(tokenizer), tokenizer, made[:50])


# Training


def test_shared_prefix_changes_no_loss(made, tokenizer):
    encoder, settings = demos.Encoder(tokenizer), load("smoke")
    torch.manual_seed(0)
    learner = Learner(new_model(settings, tokenizer)).eval()
    examples = [encoder.example(d) for d in made[:12]]
    assert common_prefix(examples) > 40
    losses = []
    with torch.no_grad():
        for example in examples:
            logits = learner.model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
            for start, end in example.spans:
                places = range(start, end)
                chosen = [logits[i - 1, example.ids[i]].item() for i in places]
                losses.append(-sum(chosen) / len(places))
        assert learner(demos.in_groups(examples)).item() == pytest.approx(
            sum(losses) / len(losses), rel=1e-5
        )


def test_learning_rate_warms_up_and_falls():
    schedule = {"planned_steps": 100, "warmup_steps": 10, "final_share": 0.1}
    settings = replace(SETTINGS, steps=65, cooldown_steps=10, learning_rate=1.0, **schedule)
    assert learning_rate(0, settings) == pytest.approx(0.1)
    assert learning_rate(9, settings) == learning_rate(10, settings) == pytest.approx(1.0)
    assert learning_rate(55, settings) == pytest.approx(0.55)  # half of the cosine
    assert learning_rate(60, settings) == pytest.approx((0.55 + 0.1) / 2)
    assert learning_rate(65, settings) == pytest.approx(0.1)


def copied(source, target):
    """A tokenizer's files; nothing else that stands beside them."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("model.*"))


def smoke(build):
    """Settings of a few steps of Game of 24 that save after each."""
    copied(SHIPPED, build / "tokenizer")
    few = {"steps": 8, "log_steps": 1, "checkpoint_minutes": 0.0}
    return load("smoke", build=build, babyai_share=0.0, webshop_pages=0, **few)


def weights(settings):
    return torch.load(settings.build / "checkpoint.pt")["model"]


def test_the_learning_rate_begins_again_after_a_restart():
    settings = load("tiny-v2")
    again = [scheduled_rate(settings.steps + i, settings) for i in range(settings.restart_steps)]
    assert again[:200] == [learning_rate(i, settings) for i in range(200)]
    assert again[-1] < 0.1 * max(again) and max(again) == settings.learning_rate


def test_training_lowers_the_loss_and_resumes_exactly(tmp_path):
    whole, broken = smoke(tmp_path / "whole"), smoke(tmp_path / "broken")
    rows = list(train(whole))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    run = train(broken)
    assert [row["step"] for row in islice(run, 4)] == [1, 2, 3, 4]
    run.close()
    rest = list(train(broken, resume=True))
    assert [row["loss"] for row in rest] == [row["loss"] for row in rows[-len(rest) :]]
    final, expected = weights(broken), weights(whole)
    assert all(torch.equal(final[name], expected[name]) for name in expected)
    assert json.loads((broken.build / "training.json").read_text())["steps"] == 8


# Evaluation


def test_pass_at_k_by_hand():
    draws = list(combinations(range(5), 2))  # samples 0 and 1 are right
    expected = sum(0 in pair or 1 in pair for pair in draws) / len(draws)
    assert pass_at(5, 2, 2) == pytest.approx(expected)
    assert pass_at(5, 0, 3) == 0.0
    assert pass_at(5, 3, 3) == 1.0


def test_auc_by_hand():
    assert auc([3.0, 1.0], [2.0, 1.0]) == pytest.approx((1 + 1 + 0 + 0.5) / 4)


def test_sampler_agrees_with_generate(model, tokenizer):
    encoder = demos.Encoder(tokenizer)
    walks = [chats.start("train", random.Random(i)) for i in range(4)]
    prompts = [encoder.prompt(chats.PROMPTS.propose_messages(walk.context)) for walk in walks]
    sampler = Sampler(model)
    found = sampler.replies(prompts, [1, 2, 1, 1], greedy=True, max_tokens=8)
    assert [len(texts) for texts in found] == [1, 2, 1, 1]
    assert found[1][0] == found[1][1]
    for prompt, texts in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8
        )
        assert sampler.cut(out[0, len(prompt) :].tolist()) == texts[0]


def test_choices_are_scored_as_one_by_one(model, tokenizer):
    encoder = demos.Encoder(tokenizer)
    walks = [chats.walk_to(depth, True, "train", random.Random(1)) for depth in (4, 3, 2)]
    prompts = [encoder.prompt(chats.PROMPTS.propose_messages(walk.context)) for walk in walks]
    assert len(set(map(len, prompts))) == 3
    texts = (("13 - 9", "1 + 2 + 3", "sure"), ("4 + 9",), ("sure", "likely"))
    choices = [list(map(encoder.text, each)) for each in texts]
    scored = Sampler(model).choice_logprobs(prompts, choices)
    assert list(map(len, scored)) == [3, 1, 2]
    for prompt, listed, row in zip(prompts, choices, scored, strict=True):
        for choice, logprob in zip(listed, row.tolist(), strict=True):
            ids = (*prompt, *choice, encoder.end)
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            places = range(len(prompt), len(ids))
            expected = sum(logits[i - 1, ids[i]].item() for i in places)
            assert logprob == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_evaluation_of_the_shipped_model_is_as_its_card_says():
    model = ChatModel(SHIPPED, evaluate_game24.SEED)
    found = evaluate_game24.evaluate(model, SETTINGS)
    assert rounded(found) == shipped_evaluation()["game24"]


def scores(greedy, drawn, judged):
    policy = {"greedy_solved": greedy, "puzzles": 100, "sample_solved": drawn, "samples": 5}
    split = {"policy": policy, "judge": {"4": {"right": judged, "states": 200}}}
    return {"name": "before", "game24": {"dev": split, "test": split}}


def test_comparison_names_what_dropped_by_more_than_three_points():
    compared = compare(scores(50, 200, 150), scores(46, 186, 160))
    assert compared["with"] == "before"
    assert compared["game24"]["greedy"] == {"before": 0.5, "after": 0.46, "dropped": True}
    assert not compared["game24"]["sampled"]["dropped"]  # 40.0 to 37.2 %
    assert not compared["game24"]["judge"]["dropped"]


def test_an_evaluation_has_every_part(tmp_path):
    settings = load("smoke", build=tmp_path, babyai_share=0.0, webshop_pages=0, init="tiny-v1")
    settings = replace(settings, eval_puzzles=2, judge_states=4, choose_questions=2, samples=2)
    (tmp_path / settings.name).symlink_to(SHIPPED)
    (tmp_path / "training.json").write_text(json.dumps(shipped_evaluation()["training"]))
    found = evaluate(settings)
    assert set(found["game24"]) == {"dev", "test"}
    assert found["compared"]["with"] == "tiny-v1" and not {"babyai_text", "webshop"} & set(found)
    assert found["game24"]["dev"]["policy"]["puzzles"] == 2


# Shipped files


def test_package_data_is_complete_and_small():
    for folder in MODELS.glob("tiny-v*"):
        assert {path.name for path in folder.iterdir()} == FILES
        assert sum(path.stat().st_size for path in folder.iterdir()) < 25e6


def test_model_is_a_small_qwen3(model, tokenizer):
    assert isinstance(model, transformers.Qwen3ForCausalLM)
    assert 2e6 <= model.num_parameters() <= 5e6
    config = model.config
    assert (config.head_dim, config.max_position_embeddings) == (32, 4096)
    assert (config.eos_token_id, config.pad_token_id) == (2, 0)
    assert config.vocab_size == len(tokenizer)


def shipped_evaluation(folder=SHIPPED):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.mark.parametrize("folder", sorted(MODELS.glob("tiny-v*")), ids=lambda folder: folder.name)
def test_card_states_the_evaluation(folder):
    evaluation, settings = shipped_evaluation(folder), load(folder.name)
    written = (folder / "README.md").read_text()
    assert written == card(settings, evaluation)
    test = evaluation["game24"]["test"]["policy"]
    assert f"| {test['greedy_solved']}/100, " in written
    assert evaluation["training"]["steps"] in (settings.steps, settings.total_steps)


def test_intervals_count_every_puzzle_once():
    assert rate(34, 100) == "34/100, 34.0% (25.5-43.7)"
    assert sampled_rate(340, 10, 100) == "340/1000, 34.0% (25.5-43.7)"
