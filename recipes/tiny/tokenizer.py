"""Byte-level BPE whose numbers of up to three digits are single tokens.

Merges of words are learnt from `corpus.py` (Sennrich et al., 2016). Merges of numbers are
written down: the pre-tokenizer cuts every number into pieces of at most three digits, with
the space before it, so these merges meet no others and every 0-999 becomes one token.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from agentsearch.engines.hf import find_model
from recipes.tiny.corpus import documents
from recipes.tiny.settings import PROFILE, Settings, load

HERE = Path(__file__).parent
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+| ?\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
SPACE = "Ġ"  # how byte-level BPE writes the space


def number_merges() -> list[tuple[str, str]]:
    """Merges that make one token of every 0-999, with and without a leading space.

    Pairs that begin with the space come first, so a number after a space grows from the
    left. Without a space `9 5 1` may join its last two digits first; hence both ways.
    """
    digits = [str(d) for d in range(10)]
    two, three = [str(n) for n in range(10, 100)], [str(n) for n in range(100, 1000)]
    spaced = [(SPACE, d) for d in digits]
    spaced += [(SPACE + n[:-1], n[-1]) for n in two + three]
    bare = [(n[:-1], n[-1]) for n in two + three]
    right = [(n[0], n[1:]) for n in three if n[1] != "0"]
    return spaced + bare + right


def learn_words(texts: Iterator[str], size: int) -> dict[str, Any]:
    """Train a BPE of `size` entries on text whose numbers are all 0; the tokenizer as JSON."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((re.sub(r"\d+", "0", text) for text in texts), trainer)
    return json.loads(tokenizer.to_str())


def build(settings: Settings) -> PreTrainedTokenizerFast:
    """The finished tokenizer with its chat template."""
    merges = number_merges()
    numbers = list(dict.fromkeys(left + right for left, right in merges))
    texts = documents(settings.corpus_documents, settings.seed)
    data = learn_words(texts, settings.vocab_size - len(numbers) + 1)  # it knows " 0" already
    vocab = data["model"]["vocab"]
    for text in numbers:
        vocab.setdefault(text, len(vocab))
    if len(vocab) != settings.vocab_size:
        raise ValueError(f"{len(vocab)} entries, not {settings.vocab_size}: enlarge the corpus.")
    data["model"]["merges"] += [list(pair) for pair in merges if pair != (SPACE, "0")]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)),
        eos_token=STOP,
        pad_token=END,
        model_max_length=settings.max_positions,
        chat_template=(HERE / "chat_template.jinja").read_text(),
        clean_up_tokenization_spaces=False,
    )


def of(settings: Settings) -> PreTrainedTokenizerBase:
    """The tokenizer of a profile: a model that goes on from another keeps that one's."""
    if settings.init is None:
        return build(settings)
    return AutoTokenizer.from_pretrained(find_model(settings.init))


def main() -> None:
    """Save a profile's tokenizer to its build folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default=PROFILE)
    settings = load(parser.parse_args().profile)
    of(settings).save_pretrained(settings.build / "tokenizer")


if __name__ == "__main__":
    main()
