"""The model and its loss: Qwen3 from scratch, the common prefix of a group computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from recipes.tiny.settings import Settings

ATTENTION = "sdpa_fp32"


def attention_fp32(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """Attention outside of autocast: its bfloat16 backward is slow on CPUs."""
    with torch.autocast(query.device.type, enabled=False):
        return sdpa_attention_forward(
            module, query.float(), key.float(), value.float(), *args, **kwargs
        )


AttentionInterface.register(ATTENTION, attention_fp32)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@dataclass(frozen=True)
class Example:
    """One tokenised chat.

    Attributes:
        ids: the whole chat.
        spans: (start, end) of the assistant's turns to learn, end-of-turn token included.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def new_model(settings: Settings, tokenizer: PreTrainedTokenizerBase) -> Qwen3ForCausalLM:
    """A randomly initialised model; seed torch before."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        head_dim=settings.head_dim,
        intermediate_size=settings.mlp_size,
        max_position_embeddings=settings.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": settings.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.set_attn_implementation(ATTENTION)
    return model


def common_prefix(examples: Sequence[Example]) -> int:
    """How many leading tokens all examples share, before the first token to learn."""
    low, high = min(e.ids for e in examples), max(e.ids for e in examples)
    limit = min(min(e.spans[0][0] for e in examples) - 1, len(low), len(high))
    return next((i for i in range(limit) if low[i] != high[i]), limit)


class Learner(nn.Module):
    """Cross-entropy of the assistant's turns, every turn weighted alike.

    Right padding needs no mask, since attention is causal. What all examples of a group
    begin with (in Game of 24 most of a chat) is computed once, with gradients, and reused
    by every row. Logits are computed only where there is a target.
    """

    def __init__(self, model: Qwen3ForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, groups: Sequence[Sequence[Example]]) -> Tensor:
        """Mean loss over groups of examples; a group holds similar lengths."""
        total = torch.stack([self.group_loss(group) for group in groups]).sum()
        return total / sum(len(example.spans) for group in groups for example in group)

    def group_loss(self, group: Sequence[Example]) -> Tensor:
        """Summed loss of a group's turns, each the mean over its tokens."""
        length = common_prefix(group)
        prefix = torch.tensor([group[0].ids[:length]])
        past = self.model.model(input_ids=prefix, use_cache=True).past_key_values
        rows = [torch.tensor(example.ids[length:-1]) for example in group]
        inputs = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden = self.model.model(
            input_ids=inputs, past_key_values=repeat(past, len(group)), use_cache=True
        ).last_hidden_state
        places, targets, weights = [], [], []
        for row, example in enumerate(group):
            for start, end in example.spans:
                places += [row * inputs.shape[1] + i - 1 - length for i in range(start, end)]
                targets += example.ids[start:end]
                weights += [1 / (end - start)] * (end - start)
        logits = self.model.lm_head(hidden.flatten(0, 1)[places])
        losses = F.cross_entropy(logits.float(), torch.tensor(targets), reduction="none")
        return (losses * torch.tensor(weights)).sum()


def repeat(past: DynamicCache, rows: int) -> DynamicCache:
    """The keys and values of one row, for `rows` rows; gradients flow back to the one."""
    layers = [
        (layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1))
        for layer in past.layers
    ]
    return DynamicCache(layers)
