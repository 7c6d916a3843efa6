"""What people said of contours: drawn by hand, imported, accepted or rejected.

One small JSON file an image, `corrections/<image_id>.json` in the masks folder, written whole at
once; `xraytk mask` lets it win over what the net found. Nothing in it names a person.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from xraytk.errors import DataError
from xraytk.files import read_json, write_json

FORMAT = 1
Decision = Literal["accepted", "rejected", "drawn"]
NAMES = ("right_lung", "left_lung", "right_clear", "left_clear", "heart")
"""Outlines a person may give; right is the patient's. "clear" lungs leave out what heart and
mediastinum cover."""
_ID = re.compile(r"[0-9a-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Correction:
    """What a person said of one image's contour.

    Args:
        image_id: Of the ingested image.
        decision: "accepted" (the outlines that were found are right), "rejected" (there are no
            right ones), "drawn" (these are).
        width: Of the image that the polygons are in.
        height: Of it.
        polygons: Each with "name" (one of `NAMES`), "x" and "y" in pixels of the image, closed;
            those that were accepted or drawn, empty when rejected. Drawn lungs are all there are:
            one that is not among them is not in the image. A lung may have several parts.
        origin: "review", or the format that it was imported from.
    """

    image_id: str
    decision: Decision
    width: int
    height: int
    polygons: tuple[dict[str, Any], ...] = ()
    origin: str = "review"


def save(folder: Path, correction: Correction) -> None:
    """Write one file, in one step.

    Args:
        folder: The corrections folder.
        correction: What was said.

    Raises:
        DataError: If it says what cannot be; see `fault`.
        MachineError: If the disk is full.
    """
    if wrong := fault(correction):
        raise DataError(f"the correction of {correction.image_id} cannot be kept", wrong)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{correction.image_id}.json", {"format": FORMAT, **asdict(correction)})


def load(path: Path) -> Correction:
    """Read one file.

    Raises:
        DataError: If it is not a correction of this format.
    """
    content = read_json(path, "xraytk mask --review")
    try:
        if content.pop("format") != FORMAT:
            raise ValueError("of another format")
        found = Correction(**content | {"polygons": tuple(content["polygons"])})
        wrong = fault(found) or ("named of another image" if found.image_id != path.stem else "")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        wrong = f"{type(error).__name__}"
    if wrong:
        raise DataError(
            f"{path} is not a correction", f"found one that is {wrong}", "Remove it, or correct it again."
        )
    return found


def fault(correction: Correction) -> str:
    """What is wrong with a correction; "" if nothing is."""
    if not _ID.fullmatch(correction.image_id):
        return "without an image_id"
    if correction.decision not in get_args(Decision):
        return "without a decision"
    if min(correction.width, correction.height) < 1:
        return "without a size"
    if bool(correction.polygons) == (correction.decision == "rejected"):
        return "without polygons, or rejected with some"
    for polygon in correction.polygons:
        if wrong := _fault_of(polygon, correction.width, correction.height):
            return wrong
    return ""


def _fault_of(polygon: dict[str, Any], width: int, height: int) -> str:
    if set(polygon) != {"name", "x", "y"} or polygon["name"] not in NAMES:
        return "of no known polygon"
    x, y = polygon["x"], polygon["y"]
    if len(x) != len(y) or len(x) < 3:
        return "of fewer than three points"
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (*x, *y)):
        return "of points that are no numbers"
    if min(x) < -0.5 or min(y) < -0.5 or max(x) > width - 0.5 or max(y) > height - 0.5:
        return "outside of the image"
    return ""
