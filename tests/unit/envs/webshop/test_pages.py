"""The words of every page in every mode, and what no page may tell."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from agentsearch_envs.webshop import pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.shop import State
from tests.small_shop import MUG, ODD, SmallWebShop, small_shop

SHOP = small_shop()
WANTED = SHOP.goals[0].instruction
HEAD = f"Instruction: [SEP] {WANTED} [SEP] Back to Search"
RICH_HEAD = f"Instruction:\n{WANTED}\n[button] Back to Search [button_]\n"
PRODUCT_ID, PRICE = r"[0-9A-Z]{10}", r"\$[\d.]+(?: to \$[\d.]+)?"


def at(*actions: str, shop: s.Shop = SHOP, state: State = State(0)) -> State:  # noqa: B008
    for action in actions:
        after = shop.act(state, action)
        assert after is not None, action
        state = after
    return state


START = State(0)
RESULTS = at("search[shirt]")
ITEM = at("click[B00SHIRT01]", state=RESULTS)
CHOSEN = at("click[large]", "click[red]", state=ITEM)
BOUGHT = at("click[Buy Now]", state=CHOSEN)
ODD_ITEM = at("search[odd]", "click[B00ODD0006]")


# text


def test_text_of_the_index_page():
    assert pages.text(SHOP, START) == (f"WebShop [SEP] Instruction: [SEP] {WANTED} [SEP] Search")


def test_text_of_results():
    first = (
        "B00SHIRT01 [SEP] Cotton Shirt for Men [SEP] $19.99 to $27.99 [SEP] "
        "B00SHIRT02 [SEP] Linen Shirt for Men [SEP] $30.0"
    )
    assert pages.text(SHOP, RESULTS) == (
        f"{HEAD} [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] {first}"
    )
    assert pages.text(SHOP, at("click[Next >]", state=RESULTS)) == (
        f"{HEAD} [SEP] Page 2 (Total results: 2) [SEP] < Prev [SEP] Next >"
    )


def test_text_of_an_item_does_not_tell_what_is_chosen():
    assert pages.text(SHOP, ITEM) == pages.text(SHOP, CHOSEN)
    assert pages.text(SHOP, CHOSEN) == (
        f"{HEAD} [SEP] < Prev [SEP] color [SEP] red [SEP] blue | white [SEP] black [SEP] "
        "size [SEP] small [SEP] large [SEP] Cotton Shirt for Men [SEP] Price: $19.99 to $27.99 "
        "[SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )


def test_text_of_sub_pages():
    def sub(name: str) -> str:
        return pages.text(SHOP, at(f"click[{name}]", state=ITEM)).removeprefix(HEAD)

    assert sub("Description") == " [SEP] < Prev [SEP] About the cotton shirt for men."
    assert sub("Features") == " [SEP] < Prev [SEP] first point [SEP] second point"
    assert sub("Reviews") == " [SEP] < Prev"


def test_an_empty_description_and_an_empty_group_add_nothing():
    tea = at("search[tea]", "click[B00TEA0005]")
    assert pages.text(SHOP, at("click[description]", state=tea)) == f"{HEAD} [SEP] < Prev"
    assert "empty [SEP] size [SEP] 20 bags [SEP] Green Tea" in pages.text(SHOP, tea)


def test_the_page_of_attributes_tells_attributes_and_kinds():
    telling = small_shop(show_attributes=True)
    page = at("click[Attributes]", shop=telling, state=ITEM)
    assert pages.text(telling, page) == (
        f"{HEAD} [SEP] < Prev [SEP] machine wash [SEP] soft cotton [SEP] fashion [SEP] "
        "men's shirts [SEP] Clothing › Men › Shirts"
    )
    assert "Reviews [SEP] Attributes [SEP] Buy Now" in pages.text(telling, ITEM)
    for mode in pages.MODES:
        assert "machine wash" not in pages.observe(SHOP, ITEM, mode)


def test_white_space_alone_is_what_an_html_parser_leaves_of_it():
    features = pages.words(SHOP, at("click[Features]", state=ODD_ITEM))
    texts = [each.text for each in features[4:]]
    # of `""`, `" "` and `"\n"`, each behind the page's own space, a line break goes wholly
    assert texts[1:3] == [" ", " "] and texts[3].startswith(" [button]") and len(texts) == 5
    seen = pages.text(SHOP, at("click[Features]", state=ODD_ITEM))
    assert seen.endswith("[SEP]  [SEP]  [SEP] [button] Buy Now [button_] [SEP] a [SEP] b")


# text_rich


def test_text_rich_of_the_index_page():
    assert pages.text_rich(SHOP, START) == (
        f"WebShop\nInstruction: \n{WANTED}\n[button] Search [button_]\n"
    )


def test_text_rich_marks_products_seen_until_the_index_page():
    again = at("click[< Prev]", state=ITEM)
    seen, new = "[clicked button] B00SHIRT01 [clicked button_]", "[button] B00SHIRT02 [button_]"
    assert pages.text_rich(SHOP, again) == (
        f"{RICH_HEAD}Page 1 (Total results: 2)\n[button] Next > [button_]\n"
        f"\n{seen}\nCotton Shirt for Men\n$19.99 to $27.99\n"
        f"\n{new}\nLinen Shirt for Men\n$30.0\n"
    )
    fresh = at("click[Back to Search]", "search[shirt]", state=again)
    assert "clicked" not in pages.text_rich(SHOP, fresh)


def test_text_rich_of_an_item_tells_what_was_clicked_the_lowest_first():
    assert pages.text_rich(SHOP, CHOSEN) == (
        "You have clicked large.\nYou have clicked red.\n"
        f"{RICH_HEAD}[button] < Prev [button_]\n"
        "color\n  [clicked button] red [clicked button_]\n"
        "  [button] blue | white [button_]\n  [button] black [button_]\n"
        "size\n  [button] small [button_]\n  [clicked button] large [clicked button_]\n"
        "Cotton Shirt for Men\nPrice: $19.99 to $27.99\nRating: N.A.\n"
        "[button] Description [button_]\n[button] Features [button_]\n"
        "[button] Reviews [button_]\n[button] Buy Now [button_]\n"
    )


def test_text_rich_takes_a_quoted_search_for_a_click_as_the_original_does():
    page = at('search["red" shirt]', "click[B00SHIRT01]")
    assert "You have clicked red.\n" in pages.text_rich(SHOP, page)
    assert page.options == () and "[[" not in pages.brief(SHOP, page)


# url


@pytest.mark.parametrize(
    ("state", "path"),
    [
        (START, "/0"),
        (at("search[red cotton shirt]", "click[Next >]"), "/search_results/0/red+cotton+shirt/2"),
        (ITEM, "/item_page/0/B00SHIRT01/shirt/1/{}"),
        (CHOSEN, '/item_page/0/B00SHIRT01/shirt/1/{"size": "large", "color": "red"}'),
        (
            at("click[features]", state=CHOSEN),
            "/item_sub_page/0/B00SHIRT01/shirt/1/Features/{'size': 'large', 'color': 'red'}",
        ),
        (BOUGHT, "/done/0/B00SHIRT01/{'size': 'large', 'color': 'red'}"),
    ],
)
def test_addresses(state, path):
    assert pages.url(SHOP, state) == f"http://127.0.0.1:3000{path}"


# brief


def test_brief_of_every_page():
    assert pages.brief(SHOP, START) == "WebShop\n[Search]"
    assert pages.brief(SHOP, at("click[< Prev]", "click[Next >]", "click[< Prev]", state=ITEM)) == (
        "[Back to Search] [Next >]\nPage 1 (Total results: 2)\n"
        "[[B00SHIRT01]] Cotton Shirt for Men $19.99 to $27.99\n"
        "[B00SHIRT02] Linen Shirt for Men $30.0"
    )
    assert pages.brief(SHOP, CHOSEN) == (
        "[Back to Search] [< Prev]\nCotton Shirt for Men\nPrice: $19.99 to $27.99\n"
        "color: [[red]] [blue | white] [black]\nsize: [small] [[large]]\n"
        "[Description] [Features] [Reviews] [Buy Now]"
    )
    assert pages.brief(SHOP, at("click[Features]", state=ITEM)) == (
        "[Back to Search] [< Prev]\nFeatures:\nfirst point\nsecond point"
    )
    assert pages.brief(SHOP, BOUGHT) == (
        'Thank you for shopping with us!\nPurchased B00SHIRT01 {"color": "red", "size": "large"}'
    )


def test_brief_marks_a_value_in_two_groups_where_it_is_chosen():
    lamp = at("search[lamp]", "click[B00LAMP003]", "click[black]")
    assert "base: [black] [white]\nshade: [[black]] [gold]" in pages.brief(SHOP, lamp)


def test_brief_tells_states_apart_that_can_still_buy_different_things():
    states = [START, RESULTS, ITEM, CHOSEN, at("click[red]", state=ITEM), BOUGHT]
    states += [at(f"click[{sub}]", state=ITEM) for sub in s.SUB_PAGES]
    assert len({pages.brief(SHOP, state) for state in states}) == len(states)


# The purchase


@pytest.mark.parametrize("mode", pages.MODES)
@pytest.mark.parametrize("actions", [(), ("click[red]", "click[large]")])
def test_no_mode_tells_what_a_purchase_paid(mode, actions):
    bought = at(*actions, "click[Buy Now]", state=ITEM)
    seen = pages.observe(SHOP, bought, mode)
    paid = SHOP.reward(bought)
    assert paid.total == (1.0 if actions else 0.6)
    for told in (str(paid.total), "score", "reward", "machine wash"):
        assert told not in seen.lower(), told


@pytest.mark.parametrize("mode", pages.MODES)
def test_no_mode_tells_the_goal_beside_its_instruction(mode):
    """Goal 5 asks for tea; its product's id, attributes and kind stand nowhere else."""
    goal = SHOP.goals[5]
    shirt = at("search[shirt]", "click[B00SHIRT01]", state=State(5))
    walk = (State(5), shirt, at("click[features]", state=shirt), at("click[Buy Now]", state=shirt))
    for state in walk:
        seen = pages.observe(SHOP, state, mode)
        assert goal.asin not in seen and goal.title not in seen and "DUMMY" not in seen


def test_the_original_s_page_after_a_purchase_ends_with_the_score():
    seen = pages.text(SHOP, BOUGHT, 0.75)
    assert seen.startswith(
        "Thank you for shopping with us! [SEP] Your code: [SEP] None [SEP] "
        "(Paste it in your MTurk interface.) [SEP] Purchased"
    )
    assert seen.endswith("Your score (min 0.0, max 1.0) [SEP] 0.75 [SEP] Reward Details [SEP] None")
    without = pages.text(SHOP, BOUGHT)
    assert seen.startswith(without) and without.endswith('{"color": "red", "size": "large"}')


# react


def test_react_of_every_page():
    assert pages.react(SHOP, START) == f"\nWebshop \nInstruction:  \n{WANTED} \n[Search] "
    assert pages.react(SHOP, RESULTS) == (
        "\n[Back to Search] \nPage 1 (Total results: 2) \n[Next >] "
        "\n[B00SHIRT01] \nCotton Shirt for Men \n$19.99 to $27.99 "
        "\n[B00SHIRT02] \nLinen Shirt for Men \n$30.0 "
    )
    assert pages.react(SHOP, CHOSEN) == (
        "\n[Back to Search] \n[< Prev] "
        "\ncolor [[red]][blue | white][black]\nsize [small][[large]]"
        "\nCotton Shirt for Men \nPrice: $19.99 to $27.99 \nRating: N.A. "
        "\n[Description] \n[Features] \n[Reviews] \n[Buy Now] "
    )
    assert pages.react(SHOP, at("click[Features]", state=ITEM)) == (
        "\n[Back to Search] \n[< Prev] \n first point \n second point "
    )
    assert pages.react(SHOP, BOUGHT) == ""


def test_react_shows_three_products_of_a_page():
    first = at("search[plate number]")
    later = at("search[plate number shirt]", "click[Next >]", "click[< Prev]", "click[Next >]")
    assert re.findall(r"\[B\w+\]", pages.react(SHOP, first)) == [
        "[B00PLATE00]",
        "[B00PLATE01]",
        "[B00PLATE02]",
    ]
    assert pages.react(SHOP, first).endswith("\n[B00PLATE02] \nPlate number 2 \n$10.0 ")
    assert pages.react(SHOP, later).endswith("\n[B00SHIRT02] \nLinen Shirt for Men \n$30.0 ")


def test_react_s_short_answers():
    env = SmallWebShop(observation="react", max_steps=4)
    state = env.first_state(env.tasks("test")[0])

    def answer(now: State, action: str) -> tuple[State, str]:
        step = env.take(now, action)
        assert step.valid
        return step.state, env.observe(step.state)

    state, seen = answer(state, "think[a shirt]")
    assert seen == "OK." and state.steps == 1
    state, _ = answer(state, "search[shirt]")
    item, _ = answer(state, "click[B00SHIRT01]")
    chosen, seen = answer(item, "click[RED] and so on")
    assert seen == "You have clicked red." and chosen.options == (("color", "red"),)
    assert env.take(item, "click[Features]").state.note == ""
    # what cannot be done leaves the state as it was, where ReAct's agents read `Invalid action!`
    nothing = env.take(item, "click[next >]")
    assert not nothing.valid and nothing.state == item and env.observe(item).startswith("\n[Back")


def test_react_answers_a_choice_once_and_shows_the_page_again_after():
    env = SmallWebShop(observation="react")
    state = env.first_state(env.tasks("test")[0])
    for action in ("search[shirt]", "click[B00SHIRT01]", "click[red]", "click[Reviews]"):
        state = env.take(state, action).state
    assert env.observe(state) == "\n[Back to Search] \n[< Prev] "
    assert "[[red]]" in env.observe(env.take(state, "click[< Prev]").state)


def test_thoughts_are_actions_in_react_alone():
    for mode in pages.MODES:
        env = SmallWebShop(observation=mode)  # type: ignore[arg-type]
        start = env.first_state(env.tasks("test")[0])
        assert env.take(start, "think[hm]").valid == (mode == "react")


TITLE = r"\n[^\n]+ "
GRAMMAR = {
    "index": r"\nWebshop \nInstruction:  \n[^\n]+ \n\[Search\] ",
    "results": (
        r"\n\[Back to Search\] \nPage \d+ \(Total results: \d+\) (?:\n\[< Prev\] )?\n\[Next >\] "
        rf"(?:\n\[{PRODUCT_ID}\] {TITLE}\n{PRICE} ){{0,3}}"
    ),
    "item": (
        r"\n\[Back to Search\] \n\[< Prev\] "
        rf"(?:\n[^\n\[]+ (?:\[[^\n]+\])?)*{TITLE}\nPrice: {PRICE} \nRating: N\.A\. "
        r"\n\[Description\] \n\[Features\] \n\[Reviews\] \n\[Buy Now\] "
    ),
    "sub": r"\n\[Back to Search\] \n\[< Prev\] (?:\n[^\n]+ )*",
    "note": r"OK\.|You have clicked [^\n]+\.",
    "done": "",
}
"""ReAct's pages, each as one regular expression."""
SCORE = re.compile(r"Your score \(min 0\.0, max 1\.0\): [\d.]+")


def kind(seen: str) -> str:
    return next(name for name, form in GRAMMAR.items() if re.fullmatch(form, seen))


def test_our_react_pages_keep_its_grammar():
    walk = {"index": START, "results": RESULTS, "item": CHOSEN, "done": BOUGHT}
    for name, state in walk.items():
        assert kind(pages.react(SHOP, state)) == name
    assert kind(pages.react(SHOP, at("click[Description]", state=ITEM))) == "sub"
    assert kind(pages.react(SHOP, RESULTS._replace(note="OK."))) == "note"
    for place in range(len(SHOP.catalogue.products)):
        if place != ODD:
            page = State(0, s.ITEM, "x", (place,), 1, place)
            assert kind(pages.react(SHOP, page)) == "item"
            listed = page._replace(page=s.RESULTS, number=2, hits=(MUG,) * 10 + (place,))
            assert kind(pages.react(SHOP, listed)) == "results"


def test_the_recorded_episodes_of_react_keep_the_same_grammar(shared: Path):
    path = shared / "webshop" / "react_gpt3_trajs.json.gz"
    if not path.is_file():
        pytest.skip(f"needs ReAct's recorded episodes {path}, which are not here")
    episodes = json.loads(gzip.decompress(path.read_bytes()))
    assert len(episodes) == 500
    kinds: dict[str, int] = {}
    for episode in episodes:
        for step in episode["steps"]:
            seen = step["observation"]
            if seen == "Invalid action!" or SCORE.fullmatch(seen):
                continue  # ours: invalid actions leave the page, and no score is told
            seen = seen.partition("[Buy Now] \n\n")[0] + "[Buy Now] " * ("[Buy Now] \n\n" in seen)
            name = kind(seen)
            kinds[name] = kinds.get(name, 0) + 1
            if seen.startswith("You have clicked"):
                assert seen == f"You have clicked {step['action'][len('click[') : -1]}."
            elif name == "note":
                assert step["action"].startswith("think[")
            elif name == "index":
                assert step["action"] in ("reset", "click[Back to Search]")
    assert kinds == {"index": 501, "results": 518, "item": 508, "note": 1632, "done": 7}
