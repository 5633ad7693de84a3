"""WebShop in the built-in model: demonstrations, evaluation, card."""

import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("minigrid")

from agentsearch_envs.webshop import rules  # noqa: E402
from agentsearch_envs.webshop import shop as s  # noqa: E402
from agentsearch_envs.webshop.environment import WebShop  # noqa: E402
from agentsearch_envs.webshop.shop import State  # noqa: E402
from recipes.tiny import demonstrations, webshop  # noqa: E402
from recipes.tiny import evaluate_webshop as ev  # noqa: E402
from recipes.tiny.card import card  # noqa: E402
from recipes.tiny.demonstration import WORDS  # noqa: E402
from recipes.tiny.evaluate import compare  # noqa: E402
from recipes.tiny.evaluate_webshop import Policy, Visit, starts  # noqa: E402
from recipes.tiny.model import common_prefix  # noqa: E402
from recipes.tiny.settings import load  # noqa: E402
from recipes.tiny.webshop import CATALOGUES, KINDS, PROMPTS, Shopper  # noqa: E402
from tests.chats import agree_with_the_template  # noqa: E402

MODELS = Path(__file__).parents[2] / "agentsearch" / "_models"
SHIPPED = MODELS / "tiny-v2"
SEED = CATALOGUES["train"][0]
TRIPS = 30
"""Of each kind of goal."""
BUY, PREV = f"click[{s.BUY}]", f"click[{s.PREV}]"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Settings of a small profile, and the file of its trips."""
    settings = load("smoke", build=tmp_path_factory.mktemp("tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webshop, "CATALOGUES", {"train": range(SEED, SEED + 1)})
        few = replace(settings, webshop_episodes=TRIPS * len(KINDS))
        assert 0 < webshop.record(few, "train", 1) <= TRIPS * len(KINDS)
    return settings


@pytest.fixture(scope="module")
def episodes(played):
    return webshop.episodes(webshop.path_of(played, "train"))


@pytest.fixture(scope="module")
def made(played):
    return list(webshop.demonstrations(played, 200, random.Random(3)))


@pytest.fixture(scope="module")
def shops():
    """Environments of the catalogue that was played in, by kind of goal."""
    return {kind: WebShop(catalogue_seed=SEED, goals=kind) for kind in KINDS}


@pytest.fixture(scope="module")
def encoder():
    tokenizer = transformers.AutoTokenizer.from_pretrained(SHIPPED)
    return demonstrations.Encoder(tokenizer)


def goals_of(shops, instruction):
    """Environment and place of every goal that an instruction may mean."""
    return [
        (env, place)
        for env in shops.values()
        for place in env.tasks("train").places
        if env.shop.goals[place].instruction == instruction
    ]


def replayed(shops, episode):
    """The states of an episode, played again."""
    env, place = goals_of(shops, episode.instruction)[0]
    state = State(place)
    for seen, action in zip(episode.observations, episode.actions, strict=True):
        assert env.observe(state) == seen
        yield env, state
        state = env.shop.act(state, action)
    assert state.page == s.DONE


# What is shown


def test_the_catalogue_that_is_played_by_default_is_never_seen(episodes, shops):
    seeds = [seed for each in CATALOGUES.values() for seed in each]
    assert len(set(seeds)) == len(seeds) and WebShop().catalogue_seed not in seeds
    assert all(env == WebShop(goals=kind) for kind, env in ev.ENVS.items())
    asked = {g.instruction for env in ev.ENVS.values() for g in env.shop.goals}
    assert not asked & {episode.instruction for episode in episodes}
    products = [set(env.shop.catalogue.places) for env in (shops["human"], ev.ENVS["human"])]
    assert not products[0] & products[1]


def test_goals_of_dev_and_test_are_asked_and_those_of_train_learnt(episodes, shops):
    assert [visit.state.goal for visit in starts("dev", "human", 2)] == [500, 501]
    assert [visit.state.goal for visit in starts("test", "synthetic", 2)] == [0, 1]
    assert all(goals_of(shops, episode.instruction) for episode in episodes)


# Demonstrations


def test_every_wanted_click_is_legal_and_every_trip_ends_with_a_purchase(episodes, shops):
    for episode in episodes:
        for step, (env, state) in enumerate(replayed(shops, episode)):
            legal, wanted = env.legal_actions(state), episode.wanted[step]
            if legal is None:
                assert s.parse(wanted)[0] == "search"
                assert episode.legal[step] is None
            else:
                assert wanted in legal
                assert set(legal) <= set(episode.legal[step])
        assert episode.actions[-1] == episode.wanted[-1] == BUY


def test_the_shopper_s_own_way_pays_what_the_goal_can_pay(episodes, shops):
    for episode in episodes[:10]:
        [*_, (env, state)] = replayed(shops, episode)
        shopper = Shopper(env.shop, state.goal)
        assert env.shop.reward(env.shop.act(state, BUY)).total >= shopper.ceiling
        assert episode.worth[-1] == pytest.approx(shopper.pays(state.product) ** webshop.EASED)


def test_what_is_learnt_is_wanted_and_never_the_slip(episodes):
    rng, slips = random.Random(0), 0
    for episode in episodes:
        for step, (wanted, action) in enumerate(zip(episode.wanted, episode.actions, strict=True)):
            made = webshop.propose(episode, step, rng)
            assert made.messages[:-1] == PROMPTS.propose_messages(episode.context(step))
            assert made.learn == (len(made.messages) - 1,)
            assert made.messages[-1].content == wanted
            slips += wanted != action
        settled = slice(episode.settled, None)
        assert episode.wanted[settled] == episode.actions[settled]
    assert slips > 10


def test_nothing_is_shown_but_the_page(made):
    assert all([m.role for m in d.messages] == ["system", "user", "assistant"] for d in made)


def test_judged_worth_is_on_average_the_label(episodes):
    points = dict(zip(WORDS, ev.WORTHS, strict=True))
    labels = {worth for episode in episodes for worth in episode.worth}
    chosen = [min(labels), max(labels), webshop.RESULTS_WORTH, webshop.NOTHING_WORTH]
    chosen.append(min(labels, key=lambda worth: abs(worth - 0.7)))
    episode, rng = episodes[0], random.Random(1)
    for worth in chosen:
        cut = replace(episode, worth=(worth,) * len(episode.worth))
        judged = [webshop.judge(cut, 0, rng).messages[-1].content for _ in range(1500)]
        assert mean(points[word] for word in judged) == pytest.approx(worth, abs=0.03)


def test_worth_tells_good_pages_from_bad_ones(shops):
    shop = shops["synthetic"].shop
    place = shops["synthetic"].tasks("train").places[0]
    shopper = Shopper(shop, place)
    start = State(place)
    results = shop.act(start, s.search_for(shopper.goal.title))
    assert shopper.worth(start) == webshop.START_WORTH
    assert shopper.worth(results) == webshop.RESULTS_WORTH
    nothing = shop.act(start, "search[qqqq]")
    assert shopper.worth(nothing) == webshop.NOTHING_WORTH
    item = shop.act(results, f"click[{shopper.goal.asin}]")
    bare, best = shopper.paid(item.product, {}), shopper.pays(item.product)
    assert shopper.worth(item) == pytest.approx((bare**3 + best**3) / 2)


def test_one_option_is_right_in_every_choice(episodes):
    rng, sizes = random.Random(2), Counter()
    for episode in episodes:
        for step in range(len(episode.actions)):
            made = webshop.choose(episode, step, rng)
            if made is None:
                assert episode.legal[step] is None
                continue
            listed = made.messages[-2].content.partition("Reply with its number.\n")[2]
            options = dict(line.split(": ", 1) for line in listed.split("\n"))
            assert options[made.messages[-1].content] == episode.wanted[step]
            assert len(set(options.values())) == len(options)
            assert set(options.values()) <= set(episode.legal[step])
            sizes[len(options)] += 1
    assert set(sizes) <= {2, 3, 4, 5, 6} and len(sizes) == 5


def test_plans_buy_from_an_item_page(episodes, shops):
    rng, plans = random.Random(2), 0
    for episode in episodes[:20]:
        for step, (env, state) in enumerate(replayed(shops, episode)):
            made = webshop.complete(episode, step, rng)
            if made is None:
                continue
            plans += 1
            assert state.page == s.ITEM
            for line in made.messages[-1].content.split("\n"):
                state = env.shop.act(state, line)
            shopper = Shopper(env.shop, state.goal)
            assert state.page == s.DONE
            assert env.shop.reward(state).total >= shopper.ceiling
    assert plans


def test_good_queries_find_a_product_that_pays_all(shops):
    for env in shops.values():
        rng, shown = random.Random(0), 0
        for place in env.tasks("train").places[:40]:
            shopper = Shopper(env.shop, place)
            query = webshop.good_query(env.shop, shopper, rng)
            results = env.shop.act(State(place), f"search[{query}]")
            assert query and results.query == query
            shown += shopper.best_shown(results) is not None
        assert shown >= 30


def test_roles_are_asked_in_their_shares(made, played):
    count = Counter(d.role for d in made)
    assert count["propose"] == count["judge"] == 200
    assert set(count) == set(played.webshop_shares)
    assert count["choose"] / 200 == pytest.approx(played.webshop_shares["choose"], abs=0.12)


def test_the_chats_of_a_page_share_their_prefix(made, encoder):
    groups = list(demonstrations.grouped("webshop", made, encoder))
    assert sum(map(len, groups)) == len(made)
    by_source = defaultdict(list)
    for demonstration in made:
        by_source[demonstration.source].append(demonstration)
    for group in groups:
        proposal = group[0]  # whose prompt is the page and nothing after it
        assert len(group) > 1 and common_prefix(group) >= proposal.spans[0][0] - 8
    agree_with_the_template(encoder, encoder.tokenizer, made[:20])


# Evaluation


class Reader:
    """A model that answers every chat alike, and judges by `worth`."""

    def __init__(self, worth=lambda chat: 0.5, search="search[x]", click=BUY, text=""):
        self.worth, self.search, self.click, self.text = worth, search, click, text
        self.asked = 0

    def replies(self, chats, counts, *, greedy, max_tokens):
        return [[self.search] for _ in chats]

    def answers(self, chats, max_tokens):
        return [self.text for _ in chats]

    def own_choice_logprobs(self, chats, choices):
        self.asked += len(chats)
        rows = [[9.0 * (choice == self.click) for choice in each] for each in choices]
        return [torch.tensor(row) for row in rows]

    def choice_logprobs(self, chats, choices):
        rows = [(worth, 0.0, 1 - worth) for worth in map(self.worth, chats)]
        return torch.tensor(rows).log()


def test_a_search_that_is_none_ends_the_episode():
    [end] = ev.play(starts("dev", "human", 1), Policy(Reader(search="buy it")))
    assert (end.ended, end.paid, end.searches, len(end.turns)) == (True, 0.0, (False,), 1)
    found = ev.summary([end])
    assert (found["nothing_bought"], found["searches"], found["searches_that_find"]) == (1, 1, 0)


def test_a_policy_in_circles_buys_nothing_and_is_scored_once_a_page():
    reader = Reader(click=f"click[{s.BACK}]")
    [end] = ev.play(starts("test", "human", 1), Policy(reader))
    assert end.ended and len(end.turns) == 15 and len(end.searches) == 8
    assert reader.asked == 1
    assert ev.summary([end])["mean_steps"] == 15


def test_the_anchors_stand_in_their_order():
    """Buying at once, choosing options, and knowing the product."""
    roots = starts("dev", "synthetic", 8)
    acts = [ev.ruled(rules.plain), ev.ruled(rules.with_options), ev.each(ev.oracle)]
    plain, options, oracle = (ev.summary(ev.play(roots, act)) for act in acts)
    assert plain["score"] < options["score"] <= oracle["score"] == 100
    assert oracle["success"] == oracle["searches_that_find"] == 8
    assert plain["mean_steps"] == 3 and oracle["nothing_bought"] == 0


def test_sampled_clicks_follow_their_shares():
    visit = starts("dev", "human", 1)[0].take("search[chair]")
    policy = Policy(Reader(click=f"click[{s.NEXT}]"), random.Random(0))
    drawn = Counter(policy([visit] * 50))
    assert drawn[f"click[{s.NEXT}]"] > 45
    assert set(drawn) <= set(visit.context.legal_actions)


def test_a_judge_that_knows_the_label_is_perfect():
    asked = [pair for kind in KINDS for pair in islice(ev.pairs("dev", kind), 2)]
    items = [item for pair in asked for item in (*pair, ev.chosen(pair[0]))]
    worth = {PROMPTS.judge_messages(i.context): i.shopper.worth(i.state) for i in items}
    found = ev.judge(Reader(worth.__getitem__), "dev", 2)
    assert (found["pages"], found["pairs"]) == (12, 4)
    assert found["spearman"] == pytest.approx(1) and found["pays_all_auc"] == 1
    upside_down = ev.judge(Reader(lambda chat: 1 - worth[chat]), "dev", 2)
    assert upside_down["spearman"] == pytest.approx(-1) and upside_down["pays_all_auc"] == 0


def test_pairs_are_of_one_page_and_differ_in_what_they_can_pay():
    for full, less in islice(ev.pairs("test", "synthetic"), 3):
        assert full.state.hits == less.state.hits and full.state.goal == less.state.goal
        assert less.shopper.pays(less.state.product) < full.shopper.ceiling
        assert full.shopper.pays(full.state.product) >= full.shopper.ceiling
        assert ev.chosen(full).shopper.worth(ev.chosen(full).state) > full.shopper.worth(full.state)


def test_only_one_option_of_a_question_leads_on():
    for page, _ in islice(ev.trips("dev", "synthetic"), 6):
        best, good = page.shopper.wants(page.state, ""), page.equally_good()
        assert best in good <= set(page.context.legal_actions)
    assert ev.choose(Reader(text="7"), "dev", 3)["right"] == 0
    found = ev.choose(Reader(text="1"), "dev", 20)
    assert found["questions"] == 40 and 0 < found["right"] < 25
    assert 1 / 6 <= found["by_chance"] <= 1 / 2


def test_plans_are_carried_out():
    items = [item for kind in KINDS for item in islice(ev.full_items("dev", kind), 3)]
    for item in items:
        options = item.shopper.options(item.state.product).values()
        plan = "\n".join((*(f"click[{value}]" for value in options), BUY))
        assert ev.pays_in_full(item, plan)
        assert not ev.pays_in_full(item, plan.removesuffix(BUY))
        assert not ev.pays_in_full(item, f"{PREV}\n{BUY}")
    found = ev.complete(Reader(text=BUY), "dev", 3)
    assert found["pages"] == len(items)
    assert found["paid_in_full"] == found["paid_in_full_at_once"] < len(items)


def test_a_visit_shows_what_was_learnt_from(episodes, shops):
    for episode in episodes[:5]:
        for step, (env, state) in enumerate(replayed(shops, episode)):
            shown = PROMPTS.propose_messages(Visit(env, state).context)
            assert shown == PROMPTS.propose_messages(episode.context(step))


# Comparison and card


def shipped():
    return json.loads((SHIPPED / "evaluation.json").read_text())


def test_both_earlier_environments_are_compared():
    before, after = shipped(), shipped()
    after["babyai_text"]["test"]["judge"]["spearman"] -= 0.1
    after["babyai_text"]["dev"]["policy"]["open"]["greedy_solved"] += 4
    compared = compare(before, after)["babyai_text"]
    assert set(compared) == {"greedy", "sampled", "judge_spearman", "judge_nearer"}
    assert [name for name, row in compared.items() if row["dropped"]] == ["judge_spearman"]
    assert compared["greedy"]["before"] == pytest.approx((71 + 55) / 500)
    assert compared["greedy"]["after"] == pytest.approx((75 + 55) / 500)
    assert compared["sampled"]["before"] == pytest.approx((53 + 46) / 200)
    assert compared["judge_nearer"]["before"] == pytest.approx((0.605 + 0.59) / 2)


def test_the_card_of_a_model_that_shops_states_its_scores():
    settings = load("tiny-v3")
    shopper = Reader(lambda chat: len(chat[-1].content) % 89 / 90, "search[chair]", text=BUY)
    shops = ev.evaluate(shopper, load("smoke", eval_puzzles=2))
    assert set(shops) == {"dev", "test"} and set(shops["dev"]["policy"]) == set(KINDS)
    evaluation = shipped() | {"name": "tiny-v3", "webshop": shops}
    evaluation["compared"] = compare(shipped(), evaluation)
    text = card(settings, evaluation)
    for part in ("WebShop", "Game of 24 beside `tiny-v2`", "BabyAI-Text beside `tiny-v2`"):
        assert f"### {part}\n" in text
    assert "catalogue seeds 1 to 12" in text and "seed 0, and the\noriginal's" in text
    oracle = shops["test"]["policy"]["human"]["oracle"]
    assert f"| human-style | oracle | {oracle['score']:.1f} ± " in text
    assert text.count("| rule with options |") == 4
    assert "| judge, rank correlation | 0.640 | 0.640 | +0.000 | no |" in text
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, prose)) <= 100
    assert "\n\n\n" not in text and "{" not in text
