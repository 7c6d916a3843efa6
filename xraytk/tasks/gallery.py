"""Pages and pictures to look at: cases with their reports, ROC curves.

Pages are HTML with the images inside, because browsers have fonts for Chinese and plotting
libraries often have not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from xraytk.data.page import Html, document, joined, picture, tag
from xraytk.files import atomic_write
from xraytk.records import RESEARCH_NOTICE
from xraytk.tasks.metrics import Floats, Value

THUMB_PX = 320

_STYLE = f"""
article {{ display: grid; grid-template-columns: {THUMB_PX}px 1fr; gap: 1.2em; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: 1em; margin: 1em 0; break-inside: avoid }}
article img {{ width: 100%; height: auto }} h2 {{ font-size: 1em; margin: 0 0 .5em }}
article th {{ white-space: nowrap }}
@media (max-width: 45em) {{ article {{ grid-template-columns: 1fr }} }}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One image with lines of text.

    Args:
        name: Hashed id.
        image: (H, W) uint8, a `thumbnail`.
        lines: Label to text, in order.
    """

    name: str
    image: NDArray[np.uint8]
    lines: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, title: str, subtitle: str, cases: Sequence[Case]) -> None:
    """Write cases as one HTML page that needs no other file."""
    notice = tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice")
    articles = joined((_article(case) for case in cases), "\n")
    page = document(title, joined([tag("h1", title), tag("p", subtitle), notice, articles]), _STYLE)
    with atomic_write(path, "w") as stream:
        stream.write(page)


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink (H, W) uint8 to at most `THUMB_PX` on its long side."""
    scale = min(1.0, THUMB_PX / max(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _article(case: Case) -> Html:
    rows = (tag("tr", tag("th", label), tag("td", words)) for label, words in case.lines.items())
    return tag(
        "article",
        tag("div", picture(case.image, "")),
        tag("div", tag("h2", case.name), tag("table", *rows)),
    )


def draw_roc(
    path: Path,
    scores: Floats,
    truth: Floats,
    labels: Sequence[str],
    values: Mapping[str, Mapping[str, Value]],
) -> None:
    """Draw one ROC curve a label, with its area and interval; labels without one are left out.

    Args:
        path: PNG file.
        scores: (n, C) probabilities.
        truth: (n, C) 0 or 1, NaN where unknown.
        labels: The C names.
        values: From `metrics.score_labels`.
    """
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#bbb", linewidth=1)
    for c, label in enumerate(labels):
        area = values[label]["auroc"]
        if area.reason:
            continue
        known = ~np.isnan(truth[:, c])
        false, true, _ = roc_curve(truth[known, c], scores[known, c])
        axes.plot(false, true, label=f"{label}  {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if len(axes.lines) > 1:
        axes.legend(loc="lower right", title="AUROC [95 % over patients]", fontsize=8, title_fontsize=8)
    with atomic_write(path) as stream:
        figure.savefig(stream, dpi=120, format="png")
