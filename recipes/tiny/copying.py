"""Teach a model to repeat any tokens, before it learns WebShop, where nearly every answer does.

Random tokens of the whole vocabulary are said and said again, at first two, then ever more
as the model learns; demonstrations of the earlier environments are rehearsed beside them.
A model that met few tokens so far cannot tell the others apart, so `spread` comes first.

    python -m recipes.tiny.copying --profile tiny-v3    # writes start.pt for the training

Repeated random tokens as the test of in-context copying: Olsson et al., 2022, In-context
Learning and Induction Heads.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from agentsearch.engines.hf import find_model
from recipes.tiny.demonstrations import Encoder, demonstrations, in_groups
from recipes.tiny.model import Learner, new_model
from recipes.tiny.settings import PROFILE, Settings, load

UNSEEN_COSINE = 0.9
"""With the mean embedding: rows nearer to it belong to tokens that were never met."""
OWN_NORM = 1.5
LEARNT, LONGEST = 1.0, 40
"""A mean loss below which sequences grow, by half, up to so many tokens."""
SEQUENCES, REHEARSED = 256, 8
SPECIAL = 3
"""Tokens at the beginning of the vocabulary that are no text."""


def spread(embeddings: torch.Tensor) -> None:
    """Give each token that no text had so far a direction of its own, in place.

    Such rows of the tied embeddings, `[vocabulary, width]`, are only ever pushed away from
    what is said, all the same way, until no two can be told apart, and so none be copied.
    """
    usual = F.normalize(embeddings.mean(0), dim=0)
    unseen = F.normalize(embeddings, dim=1) @ usual > UNSEEN_COSINE
    embeddings[unseen] += OWN_NORM * F.normalize(torch.randn_like(embeddings[unseen]), dim=1)


def repetition_loss(model: Qwen3ForCausalLM, length: int) -> torch.Tensor:
    """Mean loss of all but the first token of sequences' second half, which repeats the first."""
    once = torch.randint(SPECIAL, model.config.vocab_size, (SEQUENCES, length))
    ids = torch.cat([once, once], 1)
    hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state[:, length:]
    logits = model.lm_head(hidden).float().flatten(0, 1)
    return F.cross_entropy(logits, ids[:, length + 1 :].flatten())


def teach(settings: Settings, minutes: float) -> Iterator[dict[str, float]]:
    """Train until the longest sequences are learnt or the time is up; metrics now and then."""
    assert settings.init is not None
    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(settings.build / "tokenizer")
    encoder, learner = Encoder(tokenizer), Learner(new_model(settings, tokenizer))
    before = AutoModelForCausalLM.from_pretrained(find_model(settings.init), dtype=torch.float32)
    learner.model.load_state_dict(before.state_dict())
    spread(learner.model.get_input_embeddings().weight.data)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-3, betas=(0.9, 0.98))
    longest, mean, step, started = 2, 9.0, 0, time.monotonic()
    while longest < LONGEST and time.monotonic() - started < 60 * minutes:
        rng = random.Random(f"{settings.seed}/copying/{step}")
        rehearsed = demonstrations(settings, REHEARSED, rng, webshop_pages=0)
        examples = (list(map(encoder.example, each)) for each in rehearsed.values())
        groups = [group for each in examples for group in in_groups(each)]
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 30)
        with torch.autocast("cpu", torch.bfloat16):
            loss = repetition_loss(learner.model, rng.randint(2, longest))
            total = loss + learner(groups)
        total.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        step, mean = step + 1, 0.9 * mean + 0.1 * loss.item()
        if mean < LEARNT:
            longest, mean = longest * 3 // 2 + 1, 9.0
        if step % settings.log_steps == 0:
            spent = (time.monotonic() - started) / 60
            row = {"step": step, "longest": longest, "loss": mean, "minutes": spent}
            yield row | {"rehearsed": total.item() - loss.item()}
    torch.save(learner.model.state_dict(), settings.build / "start.pt")


def main() -> None:
    """Teach a profile's model and keep it as the start of its training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default=PROFILE)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for row in teach(load(arguments.profile), arguments.minutes):
        print({k: round(v, 3) for k, v in row.items()}, flush=True)


if __name__ == "__main__":
    main()
