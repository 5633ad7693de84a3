"""BabyAI-Text in the built-in model: demonstrations, training that goes on, evaluation."""

import gzip
import json
import random
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("minigrid")

from agentsearch_envs import babyai_levels as levels  # noqa: E402
from agentsearch_envs import babyai_world as w  # noqa: E402
from agentsearch_envs.babyai_text import KINDS, SEEDS, SIZES  # noqa: E402
from recipes.tiny import babyai, demonstrations, evaluate_babyai, game24  # noqa: E402
from recipes.tiny.card_tables import babyai_role_table, babyai_table  # noqa: E402
from recipes.tiny.demonstration import WORDS  # noqa: E402
from recipes.tiny.evaluate_babyai import Outcome, Policy, Walk, start, succeeds  # noqa: E402
from recipes.tiny.generate import ChatModel  # noqa: E402
from recipes.tiny.model import Learner, common_prefix, new_model  # noqa: E402
from recipes.tiny.settings import load  # noqa: E402
from recipes.tiny.train import first_weights, train  # noqa: E402
from tests.chats import agree_with_the_template  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "agentsearch" / "_models" / "tiny-v1"
EPISODES = 4
"""Of each kind and split."""


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(SHIPPED)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A small profile whose episodes are played."""
    settings = load("smoke", build=tmp_path_factory.mktemp("tiny"))
    for split in ("train", "dev"):
        jobs = [(kind, SEEDS[split] + i) for kind in KINDS for i in range(EPISODES)]
        played = [episode for job in jobs if (episode := babyai.play(*job)) is not None]
        with gzip.open(babyai.path_of(settings, split), "wt") as out:
            out.writelines(json.dumps(vars(episode)) + "\n" for episode in played)
    return settings


@pytest.fixture(scope="module")
def played(settings):
    return babyai.episodes(babyai.path_of(settings, "train"))


@pytest.fixture(scope="module")
def made(settings):
    return list(babyai.demonstrations(settings, 600, random.Random(3)))


# Demonstrations


def mission(demonstration):
    return demonstration.messages[0].content.split("\n")[0].removeprefix("Goal: ")


def test_only_train_seeds_are_learnt(made):
    seeds = range(SEEDS["train"], SEEDS["train"] + SIZES["train"])
    assert made and all(demonstration.source in seeds for demonstration in made)
    for profile in ("tiny-v2", "smoke"):
        assert load(profile).babyai_episodes <= SIZES["train"]


def test_evaluation_seeds_are_its_own():
    asked = {(s, SEEDS[s] + evaluate_babyai.FIRST + i) for s in ("dev", "test") for i in range(500)}
    published = {(split, SEEDS[split] + i) for split in SIZES for i in range(SIZES[split])}
    assert not asked & published
    assert load("tiny-v2").babyai_dev_episodes < evaluate_babyai.FIRST
    root = start("test", "go_to", 3).state.world.origin
    assert root == levels.Recipe("MixedTestLocal", SEEDS["test"] + 500_003, "go_to")


def test_missions_name_nothing_held_out(made):
    missions = {mission(demonstration) for demonstration in made}
    assert len(missions) > 10
    assert not any(name in text for text in missions for name in levels.HELD_OUT)


def test_roles_are_in_their_shares(made, settings):
    count = Counter(demonstration.role for demonstration in made)
    for role, share in settings.babyai_shares.items():
        assert count[role] / len(made) == pytest.approx(share, abs=0.07)


def test_windows_are_no_longer_than_the_history(made):
    past = [sum(m.role == "assistant" for m in d.messages) - 1 for d in made]
    assert max(past) == babyai.HISTORY
    assert min(past) == 0


def steps_of(episode, messages, prompts):
    """Steps at which the chat before the answer is this one."""
    steps = range(len(episode.actions))
    return [t for t in steps if prompts(episode.context(t)) == messages]


def test_what_is_learnt_is_what_the_bot_wanted(played):
    rng, slips = random.Random(0), 0
    for episode in played:
        for _ in range(8):
            made = babyai.propose(episode, rng, 0.9)
            assert all(made.messages[i].role == "assistant" for i in made.learn)
            [*_, last] = made.learn
            assert last == len(made.messages) - 1
            steps = steps_of(episode, made.messages[:-1], babyai.PROMPTS.propose_messages)
            assert made.messages[-1].content in {episode.wanted[t] for t in steps}
            t, shown = steps[0], len(made.messages) // 2 - 1
            if len(steps) > 1:
                continue
            for back in range(1, shown + 1):
                place, asked = last - 2 * back, episode.wanted[t - back]
                assert (place in made.learn) == (asked == made.messages[place].content)
                slips += place not in made.learn
    assert slips


def test_the_bot_acts_so_in_a_world_played_again(played):
    """The settled end of an episode, step by step, is the bot's way to success."""
    for episode in played[:6]:
        state = levels.start(levels.Recipe(babyai.LEVEL, episode.seed, episode.kind))
        for seen, action in zip(episode.observations, episode.actions, strict=True):
            assert "\n".join(w.describe(state)) == seen
            state = w.step(state, w.ACTIONS.index(action))
        assert state.ended == w.SUCCESS
        assert episode.wanted[episode.settled :] == episode.actions[episode.settled :]


def test_judged_worth_is_on_average_the_discounted_distance(played):
    worth = dict(zip(WORDS, (1.0, 0.5, 0.0), strict=True))
    longest = max(played, key=lambda episode: len(episode.actions) - episode.settled)
    rng, discount = random.Random(1), 0.9
    for steps in (1, 4, len(longest.actions) - longest.settled):
        first = len(longest.actions) - steps
        cut = replace(
            longest, settled=first, observations=tuple(map(str, range(len(longest.actions))))
        )
        words = defaultdict(list)
        for _ in range(200 * steps):
            made = babyai.judge(cut, rng, discount)
            place = int(made.messages[-2].content.split("\n")[0])
            words[place].append(worth[made.messages[-1].content])
        mean = sum(words[first]) / len(words[first])
        assert mean == pytest.approx(discount**steps, abs=0.06)


def test_other_roles_answer_with_what_was_done(played):
    rng = random.Random(2)
    for episode in played:
        chosen, plan = babyai.choose(episode, rng, 0.9), babyai.complete(episode, rng, 0.9)
        question = chosen.messages[-2].content.split("\n")
        options = dict(line.split(": ") for line in question if line[:1].isdigit())
        assert 2 <= len(options) <= 6 and len(set(options.values())) == len(options)
        assert options[chosen.messages[-1].content] in episode.actions[episode.settled :]
        lines = plan.messages[-1].content.split("\n")
        assert tuple(lines) == episode.actions[-len(lines) :]
        assert len(lines) <= babyai.LONGEST_PLAN


def test_encoder_agrees_with_the_chat_template(made, tokenizer):
    agree_with_the_template(demonstrations.Encoder(tokenizer), tokenizer, made[:40])


# Training


def test_groups_of_different_prefixes_have_the_plain_loss(made, settings, tokenizer):
    encoder = demonstrations.Encoder(tokenizer)
    torch.manual_seed(0)
    learner = Learner(new_model(settings, tokenizer)).eval()
    puzzles = list(game24.demonstrations(settings, 4, random.Random(0)))
    groups = [
        list(map(encoder.example, each)) for each in (made[:4], puzzles, [made[5], *puzzles[:2]])
    ]
    assert len({common_prefix(group) for group in groups}) > 1
    losses = []
    with torch.no_grad():
        for example in (example for group in groups for example in group):
            logits = learner.model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
            for first, end in example.spans:
                chosen = [logits[i - 1, example.ids[i]].item() for i in range(first, end)]
                losses.append(-sum(chosen) / len(chosen))
        assert learner(groups).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def going_on(settings, build, **changes):
    """A few steps that go on from the shipped model, on the small profile's episodes."""
    few = {"steps": 2, "planned_steps": 4, "cooldown_steps": 1, "warmup_steps": 1}
    few |= {"batch_size": 4, "dev_examples": 8, "log_steps": 1, "seed": 3}
    few |= {"restart_steps": 0}
    shutil.copytree(SHIPPED, build / "tokenizer", ignore=shutil.ignore_patterns("model.*"))
    for split in ("train", "dev"):
        shutil.copy(babyai.path_of(settings, split), build)
    return load("tiny-v2", build=build, **few | changes)


def test_training_goes_on_from_the_shipped_weights(settings, tmp_path):
    still = going_on(settings, tmp_path, learning_rate=0.0, steps=1)
    [row] = train(still)
    assert 0 < row["dev_game24_propose"] < 3 and row["dev_babyai_propose"] > 0
    weights, shipped = torch.load(tmp_path / "checkpoint.pt")["model"], first_weights(still)
    assert weights.keys() == shipped.keys()
    assert all(torch.equal(weights[name], shipped[name]) for name in shipped)


# Evaluation


@pytest.fixture(scope="module")
def model():
    return ChatModel(SHIPPED, 0)


class Always:
    """A model that gives each action its own probability, whatever it reads."""

    def __init__(self, weights):
        self.weights, self.asked = weights, 0

    def choice_logprobs(self, chats, choices):
        self.asked += len(chats)
        return torch.tensor([self.weights] * len(chats)).log()


def test_a_greedy_episode_ends_where_it_repeats_itself():
    circling = Always([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    [outcome] = Policy(circling).greedy([start("dev", "put_next", 0)])
    assert outcome == Outcome(solved=False, loops=True)
    assert circling.asked <= 8  # four quarter turns, each with its window


def test_greedy_episodes_of_one_batch_are_those_of_single_ones(model):
    roots = [start("dev", kind, 1) for kind in ("go_to", "pick_up")]
    together = Policy(model).greedy(roots)
    assert together == [Policy(model).greedy([root])[0] for root in roots]


def test_sampled_episodes_follow_their_shares():
    roots = [start("dev", "go_to", i) for i in range(8)]
    forward, even = Always([0, 0, 1.0, 0, 0, 0]), Always([1 / 6] * 6)
    ahead = [walk_ahead(root) for root in roots]
    assert Policy(forward).sampled(roots, random.Random(0)) == ahead
    solved = Policy(even).sampled(roots * 4, random.Random(0))
    assert 0 < sum(solved) < len(solved)


def walk_ahead(walk):
    while not walk.state.ended:
        walk = walk.take(w.FORWARD)
    return walk.state.ended == w.SUCCESS


def test_the_bot_and_its_plans_succeed():
    root = start("dev", "pick_up", 2)
    near = root.nearer(3)
    assert (near.distance, near.turns[: len(root.turns)]) == (min(3, root.distance), root.turns)
    plan = "\n".join(w.ACTIONS[action] for action in levels.bot_path(near.state))
    assert succeeds(near, plan)
    assert not succeeds(near, plan.rpartition("\n")[0])
    assert not succeeds(near, f"fly\n{plan}")


def test_pairs_have_the_nearer_state_first():
    pairs = list(islice(evaluate_babyai.siblings("dev", "go_to"), 3))
    for near, far in pairs:
        assert near.distance < far.distance
        assert near.turns[:-1] == far.turns[:-1] and near.turns[-1] != far.turns[-1]


class Knowing:
    """A judge that knows the distances, by the chats it is asked."""

    def __init__(self, discount):
        self.discount = discount
        self.known = {
            evaluate_babyai.PROMPTS.judge_messages(walk.context): discount**walk.distance
            for kind in KINDS
            for pair in islice(evaluate_babyai.siblings("dev", kind), 1)
            for walk in pair
        }

    def choice_logprobs(self, chats, choices):
        rows = [self.known[chat] for chat in chats]
        return torch.tensor([[worth, 0.0, 1 - worth] for worth in rows]).log()


def test_a_judge_that_knows_the_distance_is_perfect():
    scores = evaluate_babyai.judge(Knowing(0.9), "dev", 1, 0.9)
    assert scores["states"] == 2 * scores["pairs"] == 2 * len(KINDS)
    assert scores["spearman"] == pytest.approx(1) and scores["nearer_auc"] == 1
    assert scores["mae"] == pytest.approx(0, abs=1e-6)
    assert scores["mae_of_a_constant"] > 0.01


def test_evaluation_and_tables_have_every_part(model):
    settings = load("smoke", eval_puzzles=1)
    policy = evaluate_babyai.policy(model, "test", 1, 1)
    assert list(policy) == list(KINDS)
    assert all(counts["bot_solved"] == counts["tasks"] == 1 for counts in policy.values())
    text = babyai_table(policy)
    assert "| all | " in text and "pass@4" in text and len(text.splitlines()) == 8
    roles = {
        "judge": evaluate_babyai.judge(model, "dev", 1, settings.discount),
        "choose": evaluate_babyai.choose(model, "dev", 1),
        "complete": evaluate_babyai.complete(model, "dev", 1),
    }
    assert roles["choose"]["questions"] == roles["complete"]["states"] == len(KINDS)
    assert len(babyai_role_table({"dev": roles, "test": roles}).splitlines()) == 7


def test_a_walk_shows_what_inference_shows():
    walk = start("dev", "go_to", 0)
    for action in (w.LEFT, w.FORWARD, w.RIGHT):
        walk = walk.take(action)
    chat = evaluate_babyai.PROMPTS.propose_messages(walk.context)
    assert [m.role for m in chat] == ["system", *["user", "assistant"] * babyai.HISTORY, "user"]
    assert chat[-1].content == "\n".join(w.describe(walk.state))
    assert walk == Walk(walk.state, walk.turns)
