"""What a model that has read reports can do without learning more: settings and the pure parts.

- ``ranks``: which report belongs to which image.
- ``prompts``: labels as sentences.
- ``grounding``: where in the image a phrase is.
- ``similar``: which images of an archive look alike.
- ``questions``: questions about images, and their answers.

Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xraytk.errors import UsageError

LANGUAGE_TASKS = ("retrieval", "zero-shot", "grounding")
"""Tasks of `evaluate` that need a model with an image tower and a text tower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageConfig:
    """How towers of images and texts are scored, and neighbours.

    Args:
        ranks: The k of R@k, and of the precision at k of ``similar``.
        prompts: TOML or JSON with words of one's own for labels; see `prompts`.
        method: How prompts give a probability: "chexzero" (cosines), "maco" (plain products), or
            "" for "maco" after that objective and "chexzero" after any other.
        boxes: Phrases and their boxes; by default the workspace's, whose phrases are the labels'
            first positive prompt.
        thresholds: Cuts of the similarity over which the overlap is averaged.
        upsample: How a map over patches becomes one over pixels.
        place: Weigh patches by what ``maco`` learned of their places, where there is such.
        pictures: Phrases, or queries of ``similar``, that are drawn.
        ema: Prefer the moving average of the weights, where the run made one.

    Source:
        Thresholds: BioViL (Boecking et al. 2022), section 4.
    """

    ranks: tuple[int, ...] = (1, 5, 10)
    prompts: Path | None = None
    method: Literal["", "chexzero", "maco"] = ""
    boxes: Path | None = None
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    upsample: Literal["linear", "nearest"] = "linear"
    place: bool = True
    pictures: int = 12
    ema: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if not self.ranks or min(self.ranks) < 1:
            raise UsageError(f"language.ranks is {list(self.ranks)}", "wanted numbers of at least 1")
        if not self.thresholds or not all(-1 <= cut < 1 for cut in self.thresholds):
            raise UsageError(f"language.thresholds is {list(self.thresholds)}", "wanted cosines, below 1")
        if self.pictures < 0:
            raise UsageError(f"language.pictures is {self.pictures}", "wanted at least 0")
