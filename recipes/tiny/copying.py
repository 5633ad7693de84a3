"""Teach a model to repeat any tokens, before it learns WebShop, where nearly every answer does.

Random tokens of the whole vocabulary are said and said again: at first two at once, then more,
then with ever more others between, so that they must be found by what stands before them and
not by their distance. Demonstrations of the earlier environments are rehearsed beside them. A
model that met few tokens so far cannot tell the others apart, so `spread` comes first.

    python -m recipes.tiny.copying --profile tiny-v3    # writes start.pt for the training

Repeated random tokens as the test of in-context copying: Olsson et al., 2022, In-context
Learning and Induction Heads.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from agentsearch.engines.hf import find_model
from recipes.tiny.demonstrations import Encoder, demonstrations, in_groups
from recipes.tiny.model import Example, Learner, new_model
from recipes.tiny.settings import PROFILE, Settings, load

UNSEEN_COSINE = 0.9
"""With the mean embedding: rows nearer to it belong to tokens that were never met."""
OWN_NORM = 1.5
STAGES = (
    *((longest, 0) for longest in (2, 4, 7)),
    *((7, gap) for gap in (2, 6, 14, 30, 60)),
    *((longest, 60) for longest in (11, 17, 26, 40)),
)
"""Most tokens that are repeated, and most others before and between."""
LEARNT = 1.2
"""Nats; a running mean of the loss below it ends a stage."""
SEQUENCES, WARMUP = 128, 30
RATE, RATE_WITH_GAPS = 2e-3, 1e-3
"""Of learning. With gaps the higher one, or more rehearsal, takes several times as long."""
REHEARSED, REHEARSED_EVERY = 8, 10
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


def repetition_loss(model: Qwen3ForCausalLM, length: int, gaps: tuple[int, int]) -> torch.Tensor:
    """Mean loss of a repetition, less its first token; `gaps` tokens stand before and between."""

    def draw(count: int) -> torch.Tensor:
        return torch.randint(SPECIAL, model.config.vocab_size, (SEQUENCES, count))

    once = draw(length)
    ids = torch.cat([draw(gaps[0]), once, draw(gaps[1]), once], 1)
    hidden = model.model(input_ids=ids[:, :-1]).last_hidden_state[:, 1 - length :]
    logits = model.lm_head(hidden).float().flatten(0, 1)
    return F.cross_entropy(logits, once[:, 1:].flatten())


def teach(settings: Settings, minutes: float) -> Iterator[dict[str, float]]:
    """Train until the last stage is learnt or the time is up; metrics now and then."""
    assert settings.init is not None
    torch.manual_seed(settings.seed)
    tokenizer = AutoTokenizer.from_pretrained(settings.build / "tokenizer")
    encoder, learner = Encoder(tokenizer), Learner(new_model(settings, tokenizer))
    before = AutoModelForCausalLM.from_pretrained(find_model(settings.init), dtype=torch.float32)
    learner.model.load_state_dict(before.state_dict())
    spread(learner.model.get_input_embeddings().weight.data)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=RATE, betas=(0.9, 0.98))
    step, started = 0, time.monotonic()
    for longest, gap in STAGES:
        mean = math.log(len(tokenizer))
        while mean > LEARNT and time.monotonic() - started < 60 * minutes:
            rng = random.Random(f"{settings.seed}/copying/{step}")
            for group in optimizer.param_groups:
                group["lr"] = (RATE_WITH_GAPS if gap else RATE) * min(1.0, (step + 1) / WARMUP)
            gaps = rng.randint(0, gap), rng.randint(0, gap)
            with torch.autocast("cpu", torch.bfloat16):
                loss = repetition_loss(learner.model, rng.randint(min(3, longest), longest), gaps)
                total = loss
                if step % REHEARSED_EVERY == 0:
                    total = loss + learner(rehearsal(settings, encoder, rng))
            total.backward()
            nn.utils.clip_grad_norm_(learner.parameters(), settings.clip)
            optimizer.step()
            optimizer.zero_grad()
            step, mean = step + 1, 0.9 * mean + 0.1 * loss.item()
            if step % settings.log_steps == 0:
                spent = (time.monotonic() - started) / 60
                stage = {"longest": longest, "gap": gap}
                yield {"step": step, **stage, "loss": mean, "minutes": spent}
        torch.save(learner.model.state_dict(), settings.build / "start.pt")


def rehearsal(settings: Settings, encoder: Encoder, rng: random.Random) -> list[list[Example]]:
    """A few demonstrations of the earlier environments."""
    made = demonstrations(replace(settings, webshop_pages=0), REHEARSED, rng)
    examples = (list(map(encoder.example, each)) for each in made.values())
    return [group for each in examples for group in in_groups(each)]


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
