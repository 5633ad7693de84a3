"""What actions make of states: the grammar, every page's buttons, options, special searches."""

from __future__ import annotations

import pytest

from agentsearch_envs.webshop import pages
from agentsearch_envs.webshop import shop as s
from agentsearch_envs.webshop.shop import State
from tests.small_shop import LAMP, MARKUP, MUG, ODD, ODD_VALUES, OTHER_SHIRT, SHIRT, small_shop

SHOP = small_shop()
START = State(0)


def do(*actions: str, shop: s.Shop = SHOP, state: State = START) -> State:
    """The state after valid actions."""
    for action in actions:
        after = shop.act(state, action)
        assert after is not None, action
        state = after
    return state


def nothing(state: State, action: str, shop: s.Shop = SHOP) -> bool:
    return shop.act(state, action) is None


def clickables(state: State, shop: s.Shop = SHOP) -> list[str]:
    return pages.available(shop, state)["clickables"]  # type: ignore[return-value]


RESULTS = do("search[shirt]")
SHIRT_PAGE = do("click[B00SHIRT01]", state=RESULTS)
LAMP_PAGE = do("search[lamp]", "click[B00LAMP003]")
ODD_PAGE = do("search[odd]", "click[B00ODD0006]")
SUB_PAGE = do("click[Features]", state=SHIRT_PAGE)
BOUGHT = do("click[Buy Now]", state=SHIRT_PAGE)
EVERY_PAGE = (START, RESULTS, SHIRT_PAGE, SUB_PAGE)


# The grammar


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[red shirt]", ("search", "red shirt")),
        ("search[Red SHIRT]", ("search", "red shirt")),
        ("Search[x]", ("Search", "x")),  # only the argument is lower-cased
        ("search[a] or b", ("search", "a")),  # what follows is ignored
        ("search[a] click[b]", ("search[a] click", "b")),  # the first group is greedy
        ("search[a]]", ("search", "a]")),  # and so is the second
        ("search[[a]", ("search[", "a")),
        ("search[[]", ("search", "[")),
        ("search[ ]", ("search", " ")),
        (" click[x]", (" click", "x")),
        ("think[a [b] c]", ("think[a ", "b] c")),
        ("search[]", None),
        ("[x]", None),
        ("search", None),
        ("search[x", None),
        ("", None),
        ("search[a\nb]", None),  # a dot matches no line break
        ("a\nsearch[b]", None),  # and matching begins at the start
    ],
)
def test_actions_are_read_as_in_the_original(action, parsed):
    assert s.parse(action) == parsed


@pytest.mark.parametrize(
    "action",
    ["", "search[]", "click[]", "think[search]", "buy", "click[nothing]", "CLICK[Buy Now]"]
    + ["click[Search]", "Search[shirt]", "click[b00mug0004]", "search[a] click[buy now]"],
)
def test_whatever_is_no_action_here_does_nothing(action):
    for state in (*EVERY_PAGE, BOUGHT):
        assert nothing(state, action), state


def test_labels_are_clicked_in_any_case():
    assert do("click[b00shirt01]", state=RESULTS) == do("click[B00shirt01]", state=RESULTS)
    assert do("click[BUY NOW]", state=SHIRT_PAGE) == BOUGHT
    assert do("click[RED]", state=SHIRT_PAGE).options == (("color", "red"),)


def test_words_with_brackets_and_line_breaks_make_a_search_that_can_be_read():
    assert s.search_for("a [b]\nc") == "search[a  b  c]"
    assert s.parse(s.search_for(f"[x] {MARKUP}\n]")) is not None


# Searching


@pytest.mark.parametrize("state", EVERY_PAGE)
def test_a_search_works_from_any_page_and_forgets_product_and_options(state):
    chosen = state._replace(options=(("color", "red"),)) if state.page == s.ITEM else state
    found = do("search[blue mug]", state=chosen)
    assert found == State(
        0, s.RESULTS, "blue mug", (MUG, SHIRT), 1, visited=state.visited, steps=state.steps + 1
    )


def test_keywords_keep_their_spaces():
    assert do("search[ a  b ]").query == " a  b "
    assert pages.url(SHOP, do("search[ a  b ]")).endswith("/search_results/0/+a++b+/1")


def test_nothing_found_is_a_page_without_products():
    empty = do("search[zebra]")
    assert (empty.hits, SHOP.shown(empty)) == ((), ())
    assert clickables(empty) == ["back to search", "next >"]


def test_a_search_finds_50_products_at_most():
    asked = []

    class Counting:
        def search(self, query, k):
            asked.append((query, k))
            return (SHIRT,)

    shop = small_shop()
    counting = s.Shop(
        shop.catalogue, Counting(), shop.prices, shop.goals, shop.colours, shop.tagger
    )
    first, again = do("search[Shirt]", shop=counting), do("search[shirt]", shop=counting)
    assert first == again and asked == [("shirt", 50)]  # asked once, then remembered


def test_long_queries_are_not_remembered():
    shop = small_shop()
    do(f"search[{'x' * s.LONGEST_CACHED_QUERY}]", f"search[{'x' * 100_000}]", shop=shop)
    assert shop.find.cache_info().currsize == 1


# Results


def test_results_come_in_tens_in_rank_order():
    first = do("search[plate]")
    assert [len(first.hits), first.number] == [10, 1]
    both = do("search[plate number shirt]")
    assert len(both.hits) == 12 and set(both.hits[:10]) == set(range(6, 16))
    assert SHOP.shown(both) == both.hits[:10]
    later = do("click[Next >]", state=both)
    assert (SHOP.shown(later), later.number) == ((SHIRT, OTHER_SHIRT), 2)
    assert clickables(both)[2:] == [f"b00plate{n:02}" for n in range(10)]
    assert clickables(later) == ["back to search", "< prev", "next >", "b00shirt01", "b00shirt02"]


def test_next_goes_on_past_the_last_page_and_prev_comes_back():
    far = do("search[mug]", *["click[Next >]"] * 7)
    assert (far.number, SHOP.shown(far), far.steps) == (8, (), 8)
    assert clickables(far) == ["back to search", "< prev", "next >"]
    back = do(*["click[< Prev]"] * 7, state=far)
    assert back._replace(steps=1) == do("search[mug]")
    assert nothing(back, "click[< Prev]")


def test_only_products_of_the_page_shown_can_be_clicked():
    both = do("search[plate number shirt]")
    assert nothing(both, "click[B00SHIRT01]") and nothing(both, "click[B00TEA0005]")
    assert do("click[Next >]", "click[B00SHIRT01]", state=both).product == SHIRT
    assert nothing(do("click[Next >]", state=both), "click[B00PLATE00]")


def test_ids_in_lower_case_can_be_clicked_too():
    from agentsearch_envs.webshop import catalogue as c
    from tests.small_shop import Overlap, record

    products = c.build("n", "d", [record("abc-d", "A thing")], {})
    index = Overlap(tuple(p.document for p in products.products))
    shop = s.Shop(products, index, (1.0,), SHOP.goals, (), SHOP.tagger)  # type: ignore[arg-type]
    found = do("search[thing]", shop=shop)
    assert shop.clicks(found)[-1] == "abc-d"
    assert do("click[abc-d]", shop=shop, state=found).product == 0


def test_a_product_opened_is_remembered_until_the_index_page():
    seen = do("click[< Prev]", "click[B00SHIRT02]", "search[mug]", state=SHIRT_PAGE)
    assert seen.visited == {SHIRT, OTHER_SHIRT}
    assert do("click[Back to Search]", state=seen).visited == frozenset()


# Items


def test_prev_on_an_item_leads_to_its_results_page_without_options():
    both = do("search[plate number shirt]", "click[Next >]")
    chosen = do("click[B00SHIRT01]", "click[red]", state=both)
    back = do("click[< Prev]", state=chosen)
    assert back == both._replace(visited=frozenset({SHIRT}), steps=5)


@pytest.mark.parametrize("sub", s.SUB_PAGES)
def test_sub_pages_open_and_prev_comes_back_with_the_options_kept(sub):
    chosen = do("click[red]", "click[large]", state=SHIRT_PAGE)
    opened = do(f"click[{sub}]", state=chosen)
    assert opened == chosen._replace(page=s.SUB, sub=sub, steps=chosen.steps + 1)
    assert clickables(opened) == ["back to search", "< prev"]
    assert do("click[< Prev]", state=opened) == chosen._replace(steps=chosen.steps + 2)
    assert nothing(opened, "click[Buy Now]") and nothing(opened, "click[red]")


def test_attributes_have_a_page_only_where_that_is_set():
    telling = small_shop(show_attributes=True)
    assert nothing(SHIRT_PAGE, "click[Attributes]")
    assert do("click[attributes]", shop=telling, state=SHIRT_PAGE).sub == "Attributes"
    expected = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    assert clickables(SHIRT_PAGE)[:6] == expected
    expected.insert(5, "attributes")
    assert clickables(SHIRT_PAGE, telling)[:7] == expected


def test_option_values_come_last_in_page_order():
    assert clickables(SHIRT_PAGE)[6:] == ["red", "blue | white", "black", "small", "large"]


def test_another_value_of_a_group_replaces_the_first_in_its_place():
    chosen = do("click[red]", "click[large]", "click[black]", state=SHIRT_PAGE)
    assert chosen.options == (("color", "black"), ("size", "large"))
    assert do("click[black]", state=chosen) == chosen._replace(steps=chosen.steps + 1)


def test_a_value_in_two_groups_is_chosen_in_the_later_one_and_listed_once():
    assert clickables(LAMP_PAGE)[6:] == ["black", "white", "gold"]
    assert do("click[black]", state=LAMP_PAGE).options == (("shade", "black"),)
    chosen = do("click[white]", "click[gold]", "click[black]", state=LAMP_PAGE)
    assert chosen.options == (("base", "white"), ("shade", "black"))


def test_options_need_not_be_chosen():
    assert BOUGHT.options == () and SHOP.reward(BOUGHT).r_option == 0.0


def test_values_called_as_buttons_are_the_buttons():
    assert do("click[description]", state=ODD_PAGE).sub == "Description"
    assert do("click[buy now]", state=ODD_PAGE).page == s.DONE
    assert clickables(ODD_PAGE).count("description") == clickables(ODD_PAGE).count("buy now") == 1


def test_what_cannot_be_said_is_listed_as_in_the_original_but_not_as_a_legal_click():
    hidden = {"", "search", "size [l]", "two\nlines"}
    listed, clicks = clickables(ODD_PAGE), SHOP.clicks(ODD_PAGE)
    assert hidden <= set(listed) and not hidden & set(clicks)
    assert {label.lower() for label in clicks} == set(listed) - hidden
    for label in listed:
        assert nothing(ODD_PAGE, f"click[{label}]") == (label in hidden), label
    assert len(ODD_VALUES) == 10 and {"l]", '"', "x", "y"} <= set(clicks)
    assert "i\u0307stanbul | \u00e9" in clicks


def test_every_click_listed_does_something_on_every_page():
    for state in (*EVERY_PAGE, LAMP_PAGE, ODD_PAGE, do("search[plate number]", "click[Next >]")):
        for label in SHOP.clicks(state):
            assert do(f"click[{label}]", state=state).steps == state.steps + 1
    assert SHOP.clicks(START) == SHOP.clicks(BOUGHT) == []


# Ends and beginnings


@pytest.mark.parametrize("state", [RESULTS, SHIRT_PAGE, SUB_PAGE])
def test_back_to_search_keeps_the_goal_alone(state):
    chosen = state._replace(goal=3)
    assert do("click[Back to Search]", state=chosen) == State(3, steps=state.steps + 1)


def test_on_the_index_page_the_one_button_does_nothing():
    assert pages.available(SHOP, START) == {"has_search_bar": True, "clickables": ["search"]}
    for action in ("click[search]", "click[back to search]", "click[< prev]", "click[buy now]"):
        assert nothing(START, action)


def test_a_purchase_is_the_end():
    assert SHIRT_PAGE._replace(page=s.DONE, steps=3) == BOUGHT
    assert pages.available(SHOP, BOUGHT) == {"has_search_bar": False, "clickables": []}
    for action in ("search[shirt]", "click[Back to Search]", "click[Buy Now]", "click[< Prev]"):
        assert nothing(BOUGHT, action)


@pytest.mark.parametrize(
    "words", ["search_results", "item_page", "item_sub_page", "done", "/done/ item_page"]
)
def test_a_search_for_the_kind_of_a_page_confuses_nobody(words):
    state = do(f"search[{words} shirt]", "click[B00SHIRT01]", "click[Features]", "click[< Prev]")
    assert state.page == s.ITEM
    assert do("click[< Prev]", state=state).page == s.RESULTS


# Special searches


def test_special_words_mean_nothing_unless_that_is_set():
    for words in ("<r>", "<c> fashion", "<q> men's shirts", "<a> bright light"):
        assert do(f"search[{words}]").hits == SHOP.index.search(words, 50)
    assert do("search[<c> fashion]").hits == ()


def test_special_words_find_by_category_query_or_chance_where_that_is_set():
    shop = small_shop(special_searches=True)
    assert do("search[<c> fashion]", shop=shop).hits == (SHIRT, OTHER_SHIRT)
    assert do("search[<c> Fashion ignored]", shop=shop).hits == (SHIRT, OTHER_SHIRT)
    assert do("search[<q> men's shirts]", shop=shop).hits == (SHIRT, OTHER_SHIRT)
    assert do("search[<q> men's]", shop=shop).hits == ()
    everything = do("search[<r>]", shop=shop).hits
    assert sorted(everything) == list(range(16)) and everything != tuple(range(16))
    assert do("search[<r>]", shop=small_shop(special_searches=True)).hits == everything
    assert do("search[<r> again]", shop=shop).hits != everything


def test_the_special_word_for_attributes_fails_as_in_the_original():
    shop = small_shop(special_searches=True)
    assert nothing(START, "search[<a> bright light]", shop)
    assert nothing(START, "search[<a>]", shop)


def test_a_special_word_must_be_the_first_word_whole():
    shop = small_shop(special_searches=True)
    for words in ("<a>shirt", " <c> fashion shirt", "shirt <r>", "<cc> shirt", "<q"):
        assert do(f"search[{words}]", shop=shop).hits == shop.index.search(words, 50)


def test_more_than_50_products_of_a_category_are_all_kept():
    shop = small_shop(special_searches=True)
    home = do("search[<c> home]", shop=shop)
    assert len(home.hits) == 13 and LAMP in home.hits and ODD not in home.hits


# States


def test_states_are_values():
    assert do("search[shirt]") == RESULTS and hash(do("search[shirt]")) == hash(RESULTS)
    assert {START: 1}[State(0)] == 1
    before = (SHIRT_PAGE, hash(SHIRT_PAGE))
    do("click[red]", state=SHIRT_PAGE)
    assert (SHIRT_PAGE, hash(SHIRT_PAGE)) == before
