"""Direct preference optimisation on siblings of a search tree, or on whole paths.

The reference is the policy that made the data, by the log-probabilities it was recorded with.
Sources: Rafailov et al., 2023, DPO; Putta et al., 2024, Agent Q, for pairs of single steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from agentsearch.data.rows import Kind
from agentsearch.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from agentsearch.train.losses import Pairs


@dataclass(frozen=True)
class DPO:
    """Make better actions likelier than their siblings, near the recorded policy.

    Attributes:
        beta: how strongly the policy is held to the recorded one; 0.01 to 0.5.
        loss: sigmoid, ipo or hinge; see `losses.preference_loss`.
        label_smoothing: share of the pairs that are taken to be the wrong way round.
        length_normalised: divide log-ratios by the tokens of their response.
        nll: weight of the chosen response's negative log-likelihood per token, which keeps it
            from becoming less likely; 0.1 to 1 where it does.
        use_weights: let the column `weight` count, scaled to mean 1.
        use_margins: ask that implicit rewards differ by the column `margin`.
        kinds: which pairs: step, trajectory or both.
    """

    rows: ClassVar[Kind] = "preferences"

    beta: float = 0.1
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    label_smoothing: float = 0.0
    length_normalised: bool = False
    nll: float = 0.0
    use_weights: bool = True
    use_margins: bool = False
    kinds: tuple[Literal["step", "trajectory"], ...] = ("step",)

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ConfigError(f"dpo.beta={self.beta}: must be above 0.")
        if self.nll < 0:
            raise ConfigError(f"dpo.nll={self.nll}: must be 0 or more.")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"dpo.label_smoothing={self.label_smoothing}: must lie in [0, 0.5).")
        if self.label_smoothing and self.loss != "sigmoid":
            raise ConfigError(f"dpo.label_smoothing: is for loss=sigmoid; with {self.loss} use 0.")

    def select(self, rows: Dataset) -> Dataset:
        """The pairs of the kinds that were asked for.

        Raises:
            ConfigError: there is none.
        """
        found = Counter(rows["kind"])
        if set(found) <= set(self.kinds):
            return rows
        kept = [i for i, kind in enumerate(rows["kind"]) if kind in self.kinds]
        if not kept:
            counts = ", ".join(f"{n} {kind}" for kind, n in sorted(found.items()))
            raise ConfigError(
                f"data: has no pair of dpo.kinds={list(self.kinds)}; it holds {counts}."
            )
        return rows.select(kept)

    def pair_loss(self, pairs: Pairs, weights: Tensor, margins: Tensor) -> Tensor:
        """The loss of a batch, a scalar; weights and margins are `[B]`."""
        from agentsearch.train.losses import chosen_nll, preference_loss, weighted_mean

        each = preference_loss(
            pairs,
            beta=self.beta,
            loss=self.loss,
            label_smoothing=self.label_smoothing,
            length_normalised=self.length_normalised,
            margins=margins if self.use_margins else None,
        )
        if self.nll:
            each = each + self.nll * chosen_nll(pairs)
        return weighted_mean(each, weights)

    def config(self, args: dict[str, Any]) -> Any:
        """TRL's DPOConfig.

        Raises:
            ConfigError: an argument that is unknown, refused, or has no effect.
        """
        from agentsearch.train import trl_seam as trl

        return trl.dpo_config(args)

    def trainer(self, config: Any, rows: Dataset, lengths: list[int], **parts: Any) -> Any:
        """TRL's trainer; `parts` are model, tokenizer, health and the adapters' configuration."""
        from agentsearch.train import trl_seam as trl

        return trl.StepDPOTrainer(
            objective=self,
            args=config,
            train_dataset=rows.select_columns(list(trl.DPO_COLUMNS)),
            data_collator=trl.PairCollator(trl.padding(parts["processing_class"])),
            lengths=lengths,
            **parts,
        )
