"""What each exit of a trained model is worth: what was trained, or what the search saw."""

from __future__ import annotations

from pathlib import Path

from exitsearch.errors import InputError
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.load import load_outcomes
from exitsearch.specs.outcomes import DOCUMENT_NAME

# Where `exitsearch train` writes what its exits score.
_OUTCOMES = "outcomes"
_SPLIT = "choice"


def exit_values(config: MultiExitConfig, weights: Path) -> tuple[list[float], str]:
    """Value of every exit, the final one last, and where they are from.

    Args:
        config: what was chosen.
        weights: the folder that `exitsearch train` wrote.

    Raises:
        InputError: neither holds them.
    """
    sign = 1.0 if config.expected.metric == "accuracy" else -1.0
    if (weights / _OUTCOMES / DOCUMENT_NAME).is_file():
        outcomes = load_outcomes(weights / _OUTCOMES)
        found = {(head.placement, head.head): head.scores for head in outcomes.heads}
        exits = [(exit_.placement, str(exit_.choice)) for exit_ in config.exits]
        if outcomes.metric == config.expected.metric and all(_SPLIT in found.get(exit_, {}) for exit_ in exits):
            scores = [*(found[exit_][_SPLIT] for exit_ in exits), outcomes.final.scores[_SPLIT]]
            return [sign * score for score in scores], f"the trained model on the split {_SPLIT}"
    split = config.expected.split
    if split not in config.exit_scores:
        raise InputError(
            f"the configuration does not hold what its exits score on the split {split} (exit_scores), and "
            f"{weights / _OUTCOMES} holds it neither; search again with this version"
        )
    return [sign * score for score in config.exit_scores[split]], f"the search, on the split {split}"
