"""A directory of WebShop's files: which are taken, what is made of them, what is refused."""

import dataclasses
import gzip
import hashlib
import json
import re

import pytest

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import files
from agentsearch_envs.webshop.catalogue import NO_ATTRIBUTES, HumanInstruction
from agentsearch_envs.webshop.files import Report, check, colours, load

MUG = {
    "asin": "B000000001",
    "name": "Blue Mug",
    "category": "home",
    "query": " Mugs ",
    "product_category": "Home › Kitchen › Mugs",
    "full_description": "A mug.",
    "small_description": ["holds tea", "blue"],
    "pricing": "$12.50 to $14.00",
    "customization_options": {"Size": [{"value": " Small/Low "}, {"value": "Large"}], "Fit": None},
    "images": ["https://example.org/mug.jpg"],
}
LAMP = MUG | {
    "asin": "B000000002",
    "name": "Lamp",
    "small_description": "bright",
    "pricing": "",
    "customization_options": "",
}
CHAIR = MUG | {"asin": "B000000003", "name": "Chair", "pricing": "$1,019.99"}
PRODUCTS = [MUG, LAMP, CHAIR]
ATTRIBUTES = {
    MUG["asin"]: {
        "attributes": ["ceramic", "blue"],
        "instruction": "Find me a mug",
        "instruction_attributes": ["ceramic"],
    },
    LAMP["asin"]: {"attributes": []},
}
HUMAN = {
    LAMP["asin"]: [
        {
            "instruction": "I need a lamp.",
            "instruction_attributes": ["bright"],
            "instruction_options": ["white"],
        }
    ]
}
SMALL = "items_shuffle_1000.json"
SMALL_ATTRIBUTES, SMALL_HUMAN = "items_ins_v2_1000.json", "items_human_ins_1000.json"
ALL = (SMALL_ATTRIBUTES, SMALL_HUMAN, SMALL)


def put(folder, name, content):
    """Write bytes or text as they are, anything else as JSON; compress for `.gz`."""
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def filled(folder, products=PRODUCTS, attributes=ATTRIBUTES, human=HUMAN):
    put(folder, SMALL, products)
    put(folder, SMALL_ATTRIBUTES, attributes)
    put(folder, SMALL_HUMAN, human)
    return folder


def refused(folder, products=None):
    """The sentence or two that a broken directory ends in."""
    with pytest.raises(ConfigError) as caught:
        load(folder, products)
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and len(message) < 600
    assert len(re.findall(r"\. [A-Z]", message)) <= 1  # two sentences at most
    return message


# -- what is made of them --------------------------------------------------------------


def test_records_become_products(tmp_path):
    found = load(filled(tmp_path))
    mug, lamp, chair = found.products
    assert found.name == "webshop-3"
    assert (mug.title, mug.query, mug.price_tag) == ("Blue Mug", "mugs", "$12.5 to $14.0")
    assert mug.options == {"size": ("small | low", "large")}
    assert (mug.instruction, mug.instruction_attributes) == ("Find me a mug", ("ceramic",))
    assert (lamp.bullets, lamp.prices, lamp.options) == (("bright",), (100.0,), {})
    assert lamp.human == (HumanInstruction("I need a lamp.", ("bright",), ("white",)),)
    assert (lamp.instruction, chair.instruction, chair.human) == (None, None, ())
    assert chair.attributes == NO_ATTRIBUTES


def test_the_real_catalogue(shared):
    found = load(shared / "webshop")
    assert (found.name, len(found.products)) == ("webshop-1000", 1000)
    assert sum(each.instruction is not None for each in found.products) == 415
    assert sum(len(each.human) for each in found.products) == 13
    words = colours(shared / "webshop")
    assert words is not None and len(words) == 102
    assert (words[0], words[-1]) == ("alabaster", "yellow")


def test_compressed_or_not_is_the_same_catalogue(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder, end in ((plain, ""), (packed, ".gz")):
        folder.mkdir()
        put(folder, SMALL + end, PRODUCTS)
        put(folder, SMALL_ATTRIBUTES + end, ATTRIBUTES)
    assert load(plain) == load(packed)


def test_the_digest_tells_contents_apart(tmp_path):
    digest = load(filled(tmp_path)).digest
    parts = (json.dumps(each).encode() + b"\0" for each in (ATTRIBUTES, HUMAN, PRODUCTS))
    assert digest == hashlib.sha256(b"".join(parts) + b"cut=3").hexdigest()
    assert load(tmp_path, 3).digest == digest
    others = {load(tmp_path, 2).digest}
    others.add(load(filled(tmp_path, [MUG, LAMP, CHAIR | {"name": "Stool"}])).digest)
    others.add(load(filled(tmp_path, human={})).digest)
    (tmp_path / SMALL_HUMAN).unlink()
    others.add(load(tmp_path).digest)
    assert len(others) == 4 and digest not in others


def test_records_are_read_in_pieces(tmp_path):
    count = 3 * files.BLOCK // 6000
    many = [MUG | {"asin": f"{i:010}", "full_description": "½" * 1000} for i in range(count)]
    text = json.dumps(many, indent=1)
    assert len(text) > 2 * files.BLOCK
    found = load(filled(tmp_path, text, {many[-1]["asin"]: ATTRIBUTES[MUG["asin"]]}))
    assert [each.asin for each in found.products] == [each["asin"] for each in many]
    first = load(filled(tmp_path, text, {many[0]["asin"]: ATTRIBUTES[MUG["asin"]]}), 1)
    contents = b"".join((tmp_path / name).read_bytes() + b"\0" for name in ALL)
    assert first.digest == hashlib.sha256(contents + b"cut=1").hexdigest()
    cut = text[:-2] + "]]"
    line = cut.count("\n") + 1
    assert f"is not JSON from line {line} on" in refused(filled(tmp_path, cut))


def test_what_is_empty_counts_as_absent(tmp_path):
    bare = {
        key: value
        for key, value in MUG.items()
        if key not in ("pricing", "customization_options", "images")
    }
    absent = load(filled(tmp_path, [bare])).products
    for empty in ("", None, [], {}):
        same = bare | {"pricing": empty, "customization_options": empty, "images": empty}
        assert load(filled(tmp_path, [same])).products == absent
    assert (absent[0].price_tag, absent[0].options, absent[0].image) == ("$100.0", {}, "")


def test_fields_that_nobody_reads_may_be_anything(tmp_path):
    assert load(filled(tmp_path, [MUG | {"page": [], "average_rating": "?"}])).products


# -- which files -----------------------------------------------------------------------


@pytest.fixture
def both(tmp_path):
    """The full set of three products, and the small set of one."""
    filled(tmp_path, [LAMP])
    put(tmp_path, "items_shuffle.json", PRODUCTS)
    put(tmp_path, "items_ins_v2.json", ATTRIBUTES)
    return tmp_path


def test_the_full_files_come_first(both):
    assert load(both).name == "webshop-3"
    assert load(both, 2).name == "webshop-2"


def test_the_small_ones_are_for_a_thousand(both):
    assert "has only 1 records" in refused(both, 1000) and SMALL in refused(both, 1000)
    (both / SMALL).unlink()
    assert "items_shuffle.json has only 3 records" in refused(both, 1000)


def test_human_instructions_of_the_full_set_serve_the_small_one(tmp_path):
    filled(tmp_path)
    (tmp_path / SMALL_HUMAN).rename(tmp_path / "items_human_ins.json")
    assert len(load(tmp_path).products[1].human) == 1


def test_nothing_or_no_directory(tmp_path):
    message = refused(tmp_path / "nowhere")
    assert "nowhere: no such directory" in message
    message = refused(tmp_path)
    assert "has no items_shuffle.json[.gz] or items_shuffle_1000.json[.gz]" in message
    put(tmp_path, SMALL, PRODUCTS)
    assert "has no items_ins_v2_1000.json[.gz]" in refused(tmp_path)


def test_products_must_be_there(tmp_path):
    assert "products=0: must be at least 1" in refused(filled(tmp_path), 0)


# -- broken files ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [SMALL, SMALL_ATTRIBUTES, SMALL_HUMAN])
@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe[]", "is not UTF-8 text"),
        (b'"half a letter \xc3', "is not UTF-8 text"),
        (gzip.compress(b"[]"), "is not UTF-8 text"),
        (b"3", "begins with '3', but must be"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_something_else(tmp_path, name, content, wrong):
    put(filled(tmp_path), name, content)
    message = refused(tmp_path)
    assert name in message and wrong in message


@pytest.mark.parametrize("name", [SMALL, SMALL_ATTRIBUTES, SMALL_HUMAN])
def test_a_compressed_file_that_is_broken(tmp_path, name):
    filled(tmp_path)
    whole = gzip.compress((tmp_path / name).read_bytes())
    (tmp_path / name).unlink()
    packed = tmp_path / f"{name}.gz"
    for data, wrong in (
        (whole[:-20], "is cut short"),
        (b"plain text", "is no gzip file"),
        (whole[:-8] + bytes(8), "is no gzip file, or a damaged one"),
        (whole[:10] + b"\xff" * 40, "is damaged"),
    ):
        packed.write_bytes(data)
        message = refused(tmp_path)
        assert f"{name}.gz" in message and wrong in message


def test_a_file_that_is_cut_short_after_the_records_that_are_taken(tmp_path):
    filled(tmp_path)
    (tmp_path / SMALL).unlink()
    tail = "".join(hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(5000))
    put(tmp_path, f"{SMALL}.gz", [*PRODUCTS, CHAIR | {"asin": "B4", "name": tail}])
    packed = (tmp_path / f"{SMALL}.gz").read_bytes()
    (tmp_path / f"{SMALL}.gz").write_bytes(packed[:-100])
    assert "is cut short" in refused(tmp_path, 1)


def test_a_file_that_cannot_be_read(tmp_path):
    filled(tmp_path)
    (tmp_path / SMALL).unlink()
    (tmp_path / SMALL).mkdir()
    assert f"{SMALL}: cannot be read (Is a directory)" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"asin": 1,\n}]', 3),
        ("[\n\n", 3),
        ('[{"asin": "nan"},]', 1),
        ('[\n{"asin": "nan"}\n{"asin": "nan"}]', 3),
        ('[{"asin": "nan"}]\n\nmore', 3),
        ("[" + "9" * 5000 + "]", 1),
    ],
)
def test_products_that_are_not_json(tmp_path, text, line):
    message = refused(filled(tmp_path, text))
    assert f"{SMALL}: is not JSON from line {line} on" in message and "Fetch" in message


def test_attributes_that_are_not_json(tmp_path):
    message = refused(filled(tmp_path, attributes='{\n"B000000001": {\n'))
    assert f"{SMALL_ATTRIBUTES}: is not JSON from line 3 on" in message


def test_the_wrong_kind_on_top(tmp_path):
    message = refused(filled(tmp_path, products={"B000000001": MUG}))
    assert f"{SMALL}: begins with '{{', but must be a list" in message
    message = refused(filled(tmp_path, attributes=[]))
    assert f"{SMALL_ATTRIBUTES}: begins with '[', but must be an object" in message
    message = refused(filled(tmp_path, human="null"))
    assert f"{SMALL_HUMAN}: begins with 'n', but must be an object" in message


# -- broken records --------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        "asin",
        "name",
        "category",
        "query",
        "product_category",
        "full_description",
        "small_description",
    ],
)
def test_a_missing_field(tmp_path, field):
    broken = {key: value for key, value in CHAIR.items() if key != field}
    message = refused(filled(tmp_path, [MUG, LAMP, broken]))
    named = "" if field == "asin" else ' (id "B000000003")'
    assert f"{SMALL}: record 2{named}, field {field} is missing. Correct" in message


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"asin": 7}, "field asin is 7, but must be text"),
        ({"name": None}, "field name is null, but must be text"),
        ({"category": []}, "field category is [], but must be text"),
        ({"query": 1.5}, "field query is 1.5, but must be text"),
        ({"product_category": {}}, "field product_category is {}, but must be text"),
        ({"full_description": True}, "field full_description is true, but must be text"),
        ({"small_description": None}, "field small_description is null, but must be a list"),
        ({"small_description": []}, "field small_description is [], but must not be empty"),
        ({"small_description": ["a", 2]}, "field small_description[1] is 2, but must be text"),
        ({"pricing": 12.5}, "field pricing is 12.5, but must be text"),
        ({"pricing": "12.50"}, 'field pricing is "12.50", but must hold prices such as $12.99'),
        ({"pricing": "$free"}, 'field pricing is "$free", but must hold prices'),
        ({"pricing": "$1.2.3"}, 'field pricing is "$1.2.3", but must hold prices'),
        ({"pricing": "$" + "9" * 400}, "..., but must hold prices"),
        ({"images": "a.jpg"}, 'field images is "a.jpg", but must be a list'),
        ({"images": [None]}, "field images[0] is null, but must be text"),
        ({"customization_options": "Size"}, 'customization_options is "Size", but must be an obj'),
        ({"customization_options": {"Size": "S"}}, 'customization_options.Size is "S", but must'),
        (
            {"customization_options": {"Size": [{"value": "S"}, "L"]}},
            'field customization_options.Size[1] is "L", but must be an object',
        ),
        (
            {"customization_options": {"Size": [{"image": "a.jpg"}]}},
            "field customization_options.Size[0].value is missing",
        ),
        (
            {"customization_options": {"Size": [{"value": 3}]}},
            "field customization_options.Size[0].value is 3, but must be text",
        ),
        ({"name": "half \ud83d"}, 'field name is "half \\ud83d", but must be whole characters'),
    ],
)
def test_a_field_of_the_wrong_type(tmp_path, change, wrong):
    message = refused(filled(tmp_path, [MUG, CHAIR | change]))
    assert f"{SMALL}: record 1" in message and wrong in message
    assert ('(id "B000000003")' in message) == ("asin" not in change)
    assert message.endswith("Correct the record or take it out of the file.")


def test_a_record_that_is_no_object(tmp_path):
    message = refused(filled(tmp_path, [MUG, "lamp"]))
    assert f'{SMALL}: record 1 is "lamp", but must be an object' in message


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ([], " is [], but must be an object"),
        ({"attributes": "blue"}, ', field attributes is "blue", but must be a list'),
        ({"attributes": None}, ", field attributes is null, but must be a list"),
        ({"attributes": ["a", {}]}, ", field attributes[1] is {}, but must be text"),
        ({"instruction": 4}, ", field instruction is 4, but must be text"),
        ({"instruction_attributes": "a"}, ', field instruction_attributes is "a", but must be a'),
        (
            {"instruction": "Buy", "instruction_attributes": []},
            ", field instruction_attributes is [], but must not be empty where there is an instr",
        ),
        ({"instruction": "Buy"}, ", field instruction_attributes is null, but must not be empty"),
    ],
)
def test_a_broken_entry_of_the_attribute_file(tmp_path, entry, wrong):
    message = refused(filled(tmp_path, attributes=ATTRIBUTES | {"B9": entry}))
    assert f'{SMALL_ATTRIBUTES}: record 2 (id "B9"){wrong}' in message


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ({}, " is {}, but must be a list"),
        (["lamp"], ', field [0] is "lamp", but must be an object'),
        ([{"instruction_attributes": []}], ", field [0].instruction is missing"),
        ([{"instruction": 1}], ", field [0].instruction is 1, but must be text"),
        (
            [HUMAN[LAMP["asin"]][0] | {"instruction_options": {"a": "b"}}],
            ', field [0].instruction_options is {"a": "b"}, but must be a list',
        ),
        (
            [HUMAN[LAMP["asin"]][0] | {"instruction_attributes": [1]}],
            ", field [0].instruction_attributes[0] is 1, but must be text",
        ),
    ],
)
def test_broken_human_instructions(tmp_path, entry, wrong):
    message = refused(filled(tmp_path, human={"B9": entry}))
    assert f'{SMALL_HUMAN}: record 0 (id "B9"){wrong}' in message


def test_long_values_are_cut_in_messages(tmp_path):
    message = refused(filled(tmp_path, [MUG | {"name": ["x" * 10_000]}]))
    assert "xxx..., but must be text" in message


def test_nothing_to_shop_for(tmp_path):
    assert f"{SMALL}: holds no product (0 records" in refused(filled(tmp_path, []))
    skipped = [{"asin": "nan"}, {"asin": "B0000000001"}]
    assert "holds no product (2 records, all skipped)" in refused(filled(tmp_path, skipped))
    message = refused(filled(tmp_path, [CHAIR]))
    assert f"{SMALL_ATTRIBUTES}: no field instruction for any of the 1 products" in message


# -- skipped records -------------------------------------------------------------------


def test_repeats_nan_and_long_ids_are_skipped_whatever_else_they_hold(tmp_path):
    records = [{"asin": "nan"}, MUG, {"asin": "B0000000001"}, LAMP, MUG | {"page": 2}]
    assert load(filled(tmp_path, records)).products == load(filled(tmp_path, [MUG, LAMP])).products


def test_one_id_for_two_products_is_refused(tmp_path):
    message = refused(filled(tmp_path, [LAMP, MUG, CHAIR, MUG | {"name": "Red Mug"}]))
    assert f'{SMALL}: records 1 and 3 both have the id "B000000001", but differ' in message


# -- the report ------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where indexes are kept meanwhile."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def test_a_directory_is_counted_and_indexed(tmp_path, cache):
    skipped = [{"asin": "nan"}, {"asin": "nan"}, {"asin": "B0000000001"}, MUG, MUG, LAMP]
    put(filled(tmp_path, [*PRODUCTS, *skipped]), "color_words.json", ["blue"])
    report = check(tmp_path)
    assert report == Report(
        catalogue="webshop-3",
        files=(SMALL, SMALL_ATTRIBUTES, SMALL_HUMAN, "color_words.json"),
        products=3,
        skipped_nan=2,
        skipped_long_id=1,
        skipped_repeats=3,
        with_instruction=1,
        synthetic_goals=2,  # a mug of either size
        human_goals=1,
        range_priced=1,
        without_price=1,
        without_attributes=2,
        index="built",
        digest=load(tmp_path).digest,
    )
    assert any(path.is_file() for path in cache.rglob("*"))
    assert check(tmp_path) == dataclasses.replace(report, index="cached")


def test_fewer_products_have_an_index_of_their_own(tmp_path, cache):
    put(filled(tmp_path), "color_words.json", ["blue"])
    assert check(tmp_path).index == "built"
    report = check(tmp_path, products=1)
    assert (report.catalogue, report.products, report.index) == ("webshop-1", 1, "built")


def test_colour_words_are_checked_too(tmp_path, cache):
    put(filled(tmp_path), "color_words.json", "{}")
    with pytest.raises(ConfigError, match="color_words.json"):
        check(tmp_path)
    assert not cache.exists()


def test_the_real_directory(shared, cache):
    report = check(shared / "webshop")
    assert report.catalogue == "webshop-1000" and len(report.files) == 4
    assert (report.with_instruction, report.synthetic_goals, report.human_goals) == (415, 6910, 13)
    assert (report.skipped_nan, report.skipped_long_id, report.skipped_repeats) == (0, 0, 0)


# -- colours ---------------------------------------------------------------------------


def test_colours_in_their_order_or_none(tmp_path):
    assert colours(tmp_path) is None
    put(tmp_path, "color_words.json.gz", ["red", "blue"])
    assert colours(tmp_path) == ("red", "blue")


@pytest.mark.parametrize("words", [{}, [], ["red", 1], ["red", ""]])
def test_colours_that_are_no_words(tmp_path, words):
    put(tmp_path, "color_words.json", words)
    with pytest.raises(ConfigError, match=r"color_words.json: must be a list of colour words\."):
        colours(tmp_path)
