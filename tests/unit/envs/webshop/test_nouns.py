"""Noun taggers: the two built-in ones, spaCy's, and those of others."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from agentsearch.errors import ConfigError
from agentsearch_envs.webshop import nouns


def shout(title: str) -> list[str]:
    return [title.lower()]


def test_words_are_all_words_lower_cased_with_repeats():
    assert nouns.words("Bar for a Bar 2.1 - 4K TV") == ["bar", "for", "a", "bar", "tv"]
    assert nouns.words("Women's & Girls’ Café Tee, size S") == [
        *("women", "girls", "café", "tee", "size", "s")
    ]
    assert nouns.words("") == nouns.words("921ORB 3.1") == []


def test_the_lexicon_leaves_function_words_out_but_not_parts_of_names():
    title = "The Kitchen and Bath Towels for Men with Lint, Off White"
    assert nouns.lexicon(title) == ["kitchen", "bath", "towels", "men", "lint", "off", "white"]


def test_taggers_are_found_by_name():
    assert nouns.find("words") is nouns.words
    assert nouns.find("lexicon") is nouns.lexicon


def test_a_tagger_of_one_s_own_is_found_by_module_and_function(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("my_shop")
    module.shout = shout  # type: ignore[attr-defined]
    module.number = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_shop", module)
    assert nouns.find("my_shop:shout")("Red Lamp") == ["red lamp"]
    with pytest.raises(ConfigError, match="my_shop:number': is not a function"):
        nouns.find("my_shop:number")
    with pytest.raises(ConfigError, match=r"my_shop:whisper'.*AttributeError.*module:function"):
        nouns.find("my_shop:whisper")


def test_unknown_names_are_answered_with_those_that_exist():
    with pytest.raises(ConfigError, match="'lexicom': no such tagger. Did you mean 'lexicon'"):
        nouns.find("lexicom")
    with pytest.raises(ConfigError, match="no_such_module:f'.*ModuleNotFoundError"):
        nouns.find("no_such_module:f")


# spaCy, played by a module that tags by case


def token(text: str) -> SimpleNamespace:
    tag = "PROPN" if text.istitle() else "NOUN" if text.islower() else "ADJ"
    return SimpleNamespace(text=text, pos_=tag)


@pytest.fixture
def spacy(monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []

    def load(model: str):
        if model == "absent":
            raise OSError("[E050] Can't find model")
        loaded.append(model)
        return lambda title: [token(text) for text in title.split()]

    module = ModuleType("spacy")
    module.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "spacy", module)
    nouns.spacy_tagger.cache_clear()
    yield loaded
    nouns.spacy_tagger.cache_clear()


def test_spacy_gives_its_nouns_and_names_and_is_loaded_once(spacy: list[str]):
    tagger = nouns.find("spacy")
    assert tagger("Acme LED lamp lamp NEW") == ["acme", "lamp", "lamp"]
    assert nouns.find("spacy:en_core_web_sm") is tagger
    assert nouns.find("spacy:en_core_web_lg") is not tagger
    assert spacy == ["en_core_web_sm", "en_core_web_lg"]


def test_an_absent_model_names_the_command_and_the_built_in_tagger(spacy: list[str]):
    with pytest.raises(ConfigError, match=r"'absent'.*spacy download absent.*env.tagger=lexicon"):
        nouns.find("spacy:absent")


def test_absent_spacy_names_the_commands_and_the_built_in_tagger(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    nouns.spacy_tagger.cache_clear()
    with pytest.raises(ConfigError) as caught:
        nouns.find("spacy")
    for part in ("pip install spacy", "spacy download en_core_web_sm", "env.tagger=lexicon"):
        assert part in str(caught.value)
