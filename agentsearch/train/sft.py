"""Supervised fine-tuning on the segments of verified successes.

Source: Singh et al., 2023, ReST^EM: filter by the verifier, then maximise the likelihood of
what is left, starting from the base model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agentsearch.data.rows import Kind

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class SFT:
    """Make the actions of successes likelier.

    Attributes:
        use_weights: let the column `weight` count, scaled to mean 1.
    """

    rows: ClassVar[Kind] = "sft"

    use_weights: bool = True

    def select(self, rows: Dataset) -> Dataset:
        """All rows."""
        return rows

    def config(self, args: dict[str, Any]) -> Any:
        """TRL's SFTConfig.

        Raises:
            ConfigError: an argument that is unknown, refused, or has no effect.
        """
        from agentsearch.train import trl_seam as trl

        return trl.sft_config(args)

    def trainer(self, config: Any, rows: Dataset, lengths: list[int], **parts: Any) -> Any:
        """TRL's trainer; `parts` are model, tokenizer, health and the adapters' configuration."""
        from agentsearch.train import trl_seam as trl

        return trl.WeightedSFTTrainer(
            args=config,
            train_dataset=rows.select_columns(list(trl.SFT_COLUMNS)),
            data_collator=trl.SFTCollator(trl.padding(parts["processing_class"])),
            lengths=lengths,
            **parts,
        )
