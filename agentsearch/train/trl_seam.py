"""Everything that knows TRL's internals. Contract tests hold it to the installed version.

TRL 1.16 re-tokenises preference data, trains on environment tokens, holds a reference model
and knows no weights; each override below takes one of these away. Rows arrive tokenised, with
a mask and recorded log-probabilities, from `sft.parquet` and `preferences.parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from agentsearch.errors import ConfigError, did_you_mean
from agentsearch.train.health import Health, logprob_gap, pair_measures, token_measures
from agentsearch.train.losses import Pairs, masked_sum, weighted_nll

SFT_COLUMNS = ("input_ids", "completion_mask", "logprobs", "weight")
DPO_COLUMNS = (
    *("prompt_ids", "chosen_ids", "rejected_ids", "chosen_mask", "rejected_mask"),
    *("chosen_logprobs", "rejected_logprobs", "ref_chosen_logps", "ref_rejected_logps"),
    *("margin", "weight"),
)
IGNORED = -100
"""Label of a token that is not trained."""

SFT_FIXED = {"dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
DPO_FIXED = {"precompute_ref_log_probs": True, "remove_unused_columns": False}
"""Arguments the overrides below rely on; by the first of DPO's no reference model is loaded."""
SFT_REPLACED = {"packing": "", "loss_type": "", "label_smoothing_factor": ""}
DPO_REPLACED = {
    **{"beta": "dpo.beta", "loss_type": "dpo.loss", "label_smoothing": "dpo.label_smoothing"},
    **{"loss_weights": "dpo.nll", "use_weighting": "dpo.use_weights", "sync_ref_model": ""},
    **{"ld_alpha": "", "f_divergence_type": "", "f_alpha_divergence_coef": ""},
}
"""Arguments of TRL that would change nothing here, and what to set instead where there is one."""
DEFAULTS: dict[str, Any] = {
    **{"bf16": False, "gradient_checkpointing": False, "max_length": None},
    **{"logging_nan_inf_filter": False, "disable_tqdm": True, "report_to": "none"},
    **{"save_total_limit": 2, "ddp_find_unused_parameters": False},
}
"""Ours instead of TRL's, where a recipe says nothing: float32, no row cut short, NaN seen."""

RENAMED = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}
"""TRL's names, and what transformers 5.23 warns to use instead."""


def config(
    cls: type[Any], args: Mapping[str, Any], fixed: Mapping[str, Any], replaced: Mapping[str, str]
) -> Any:
    """TRL's configuration from a recipe's `args`.

    Raises:
        ConfigError: an argument that TRL does not know, refuses, or that has no effect here.
    """
    known = [each.name for each in fields(cls) if each.init]
    for name in args:
        if name not in known:
            raise ConfigError(
                f"args.{name}: {cls.__name__} has no such field.{did_you_mean(name, known)}"
            )
        if name in fixed or name in replaced:
            instead = f"; set {replaced[name]}" if replaced.get(name) else "; leave it out"
            raise ConfigError(f"args.{name}: has no effect here{instead}.")
    given = {**DEFAULTS, "dataloader_pin_memory": torch.cuda.is_available(), **args, **fixed}
    renamed = {RENAMED[k] if RENAMED.get(k) in known else k: v for k, v in given.items()}
    try:
        return cls(**renamed)
    except (ValueError, TypeError) as cause:
        raise ConfigError(f"args: {cls.__name__} refuses them ({cause}).") from cause


def sft_config(args: Mapping[str, Any]) -> SFTConfig:
    """TRL's configuration of SFT; see `config`."""
    return config(SFTConfig, args, SFT_FIXED, SFT_REPLACED)


def dpo_config(args: Mapping[str, Any]) -> DPOConfig:
    """TRL's configuration of DPO; see `config`."""
    return config(DPOConfig, args, DPO_FIXED, DPO_REPLACED)


class PairLoss(Protocol):
    """The objective of a batch of pairs."""

    @property
    def beta(self) -> float:
        """Of the implicit rewards."""
        ...

    def pair_loss(self, pairs: Pairs, weights: Tensor, margins: Tensor) -> Tensor:
        """A scalar; weights and margins are `[B]`."""
        ...


def padding(tokenizer: Any) -> int:
    """Id that rows are filled up with; it is never trained, and so may be that of a turn's end."""
    pad = tokenizer.pad_token_id
    return tokenizer.eos_token_id if pad is None else pad


def padded(rows: Sequence[Sequence[float]], value: float, dtype: torch.dtype) -> Tensor:
    """Rows of different lengths as `[B, T]`, padded on the right."""
    tensors = [torch.tensor(row, dtype=dtype) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value)


@dataclass(frozen=True)
class SFTCollator:
    """Rows of `sft.parquet` to a batch; labels are set on the policy's tokens alone."""

    pad: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch; tensors are `[B, T]`, weights `[B]`."""
        ids = padded([row["input_ids"] for row in rows], self.pad, torch.long)
        mask = padded([row["completion_mask"] for row in rows], 0, torch.long)
        return {
            "input_ids": ids,
            "attention_mask": padded([[1] * len(r["input_ids"]) for r in rows], 0, torch.long),
            "labels": ids.masked_fill(mask == 0, IGNORED),
            "logprobs": padded([row["logprobs"] for row in rows], 0.0, torch.float),
            "weights": torch.tensor([row["weight"] for row in rows], dtype=torch.float),
        }


@dataclass(frozen=True)
class PairCollator:
    """Rows of `preferences.parquet` to a batch, all chosen responses before all rejected ones.

    The layout and names are those of TRL's collator, which would set the completion mask to 1
    on all of a response; here it is what the policy wrote.
    """

    pad: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch; tensors are `[2B, T]`, and `[B]` where there is one number a pair."""
        sides = [(row, side) for side in ("chosen", "rejected") for row in rows]
        ids = [[*row["prompt_ids"], *row[f"{side}_ids"]] for row, side in sides]
        before = [[0] * len(row["prompt_ids"]) for row, _ in sides]
        masks = [[*b, *r[f"{s}_mask"]] for b, (r, s) in zip(before, sides, strict=True)]
        logprobs = [[*b, *r[f"{s}_logprobs"]] for b, (r, s) in zip(before, sides, strict=True)]

        def column(name: str) -> Tensor:
            return torch.tensor([row[name] for row in rows], dtype=torch.float)

        return {
            "input_ids": padded(ids, self.pad, torch.long),
            "attention_mask": padded([[1] * len(each) for each in ids], 0, torch.long),
            "completion_mask": padded(masks, 0, torch.long),
            "logprobs": padded(logprobs, 0.0, torch.float),
            "ref_chosen_logps": column("ref_chosen_logps"),
            "ref_rejected_logps": column("ref_rejected_logps"),
            "weights": column("weight"),
            "margins": column("margin"),
        }


class LongestFirst(Sampler[int]):
    """A new order every epoch; the first begins with the longest rows.

    So a batch that does not fit in memory is met in the first step.
    """

    def __init__(self, lengths: Sequence[int], first: int, seed: int) -> None:
        longest = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        self.size, self.longest = len(lengths), longest[:first]
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate, also when a training is resumed."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order: list[int] = torch.randperm(self.size, generator=generator).tolist()
        if self.epoch:
            return iter(order)
        chosen = set(self.longest)
        return iter([*self.longest, *(i for i in order if i not in chosen)])


class Measured:
    """What both trainers share: the order of rows, and where measures go."""

    health: Health
    lengths: Sequence[int]

    def _get_train_sampler(self: Any, train_dataset: Any = None) -> LongestFirst:
        first = self.args.train_batch_size * self.args.world_size
        return LongestFirst(self.lengths, first, self.args.seed)

    def _forward(self: Any, model: Any, inputs: Mapping[str, Tensor], labels: Tensor) -> Any:
        """The model's output with log-probabilities and entropies `[B, T - 1]`, 0 off the mask."""
        return model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels,
            fused_lm_head=True,
            use_cache=False,
        )

    def _measure(
        self: Any,
        inputs: Mapping[str, Tensor],
        outputs: Any,
        mask: Tensor,
        loss: Tensor,
        more: Mapping[str, Tensor],
    ) -> None:
        """Note the measures of a batch, averaged over the processes."""
        mode = "train" if self.model.training else "eval"
        recorded, ids = inputs["logprobs"][:, 1:], inputs["input_ids"][:, 1:]
        logps, entropy = outputs.log_probs.detach(), outputs.entropy.detach()
        if mode == "train" and self.state.global_step == 0:
            gap = self.accelerator.gather(logprob_gap(logps, recorded, mask)[None])
            total, _, tokens = gap.sum(0).tolist()
            found = self.health.judge_gap(total, gap[:, 1].max().item(), tokens)
            for name, value in found.items():
                self._metrics[mode][name] = [value]
        end = self.processing_class.eos_token_id
        measures = {**token_measures(logps, recorded, entropy, ids, mask, end), **more}
        values = torch.stack([each.detach().float() for each in (loss, *measures.values())])
        mean_loss, *means = self.accelerator.gather(values[None]).mean(0).tolist()
        self.health.judge_finite(self.state.global_step, {"loss": mean_loss})
        for name, value in zip(measures, means, strict=True):
            self._metrics[mode][name].append(value)
        if mode == "train":
            seen = self.accelerator.gather(inputs["attention_mask"].sum()).sum().item()
            self._total_train_tokens += seen
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]


class WeightedSFTTrainer(Measured, SFTTrainer):
    """TRL's SFT on tokenised rows, each with a weight."""

    def __init__(self, *, health: Health, lengths: Sequence[int], **kwargs: Any) -> None:
        self.health, self.lengths = health, lengths
        super().__init__(**kwargs)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weighted negative log-likelihood, per trained token of the whole step."""
        labels = inputs["labels"]
        mask = (labels[:, 1:] != IGNORED).long()
        outputs = self._forward(model, inputs, labels)
        tokens = mask.sum() if num_items_in_batch is None else num_items_in_batch
        loss = weighted_nll(outputs.log_probs, mask, inputs["weights"], tokens)
        self._measure(inputs, outputs, mask, loss, {})
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages the gradients
        return (loss, outputs) if return_outputs else loss


class StepDPOTrainer(Measured, DPOTrainer):
    """TRL's DPO on tokenised pairs with recorded reference log-probabilities.

    No reference model is loaded: the recorded policy is the reference (Putta et al., 2024,
    Agent Q).
    """

    def __init__(
        self, *, objective: PairLoss, health: Health, lengths: Sequence[int], **kwargs: Any
    ) -> None:
        self.objective, self.health, self.lengths = objective, health, lengths
        super().__init__(**kwargs)

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: Any, dataset_name: str
    ) -> Any:
        return dataset  # tokenised already

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        return dataset  # recorded when the data was made

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
        mask = inputs["completion_mask"][:, 1:]
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
        outputs = self._forward(model, inputs, labels)
        chosen, rejected = masked_sum(outputs.log_probs, mask).chunk(2)
        chosen_tokens, rejected_tokens = mask.sum(-1).chunk(2)
        pairs = Pairs(
            chosen=chosen,
            rejected=rejected,
            ref_chosen=inputs["ref_chosen_logps"],
            ref_rejected=inputs["ref_rejected_logps"],
            chosen_tokens=chosen_tokens,
            rejected_tokens=rejected_tokens,
        )
        loss = self.objective.pair_loss(pairs, inputs["weights"], inputs["margins"])
        measures = pair_measures(pairs, self.objective.beta)
        self._measure(inputs, outputs, mask, loss, measures)
        return (loss, outputs) if return_outputs else loss
