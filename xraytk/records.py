"""What passes from room to room.

Letters for shapes, everywhere the same: B batch, H W pixels, C classes, N patches, K kept,
L text tokens, D width.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from xraytk.chance import Chance

VIEWS = ("PA", "AP", "LATERAL", "OTHER", "UNKNOWN")
FRONTAL_VIEWS = ("PA", "AP", "UNKNOWN")
"""Views for which lungs are looked for; an unknown view of a chest is most often frontal."""

LANGUAGES = ("en", "zh")
SPLITS = ("train", "val", "test")
UNCERTAIN = -1.0
"""Value of a label that its source calls uncertain, in labels.parquet and in shards."""

RESEARCH_NOTICE = {
    "en": "Research software, not a medical device. AI-generated, not verified by a radiologist.",
    "zh": "本软件仅供科研，非医疗器械。内容由人工智能生成，未经放射科医师审核。",
}


@dataclass(slots=True)
class Identity:
    """Who a radiograph is of. Lives in memory only, and never prints itself.

    ingest turns it into hashed ids and drops it. ``secrets`` are the texts of the header that
    name the patient or the people around (names, ids, dates), to be scrubbed from reports.
    """

    patient_id: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    sop_uid: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(slots=True)
class Radiograph:
    """One projection image, decoded, in MONOCHROME2 sense (air dark, bone bright).

    Args:
        pixels: (H, W) uint16 over the full range 0..65535, at the source's resolution.
        identity: Hidden; see `Identity`.
        modality: "CR", "DX", "RG" (film), or "" for a plain picture.
        view: One of `VIEWS`.
        spacing_mm: (row, column) spacing in the image plane; None when unknown.
        bits_stored: Significant bits of the source, 8 to 16.
        syntax: Transfer syntax UID, or "png", "jpeg", "tiff".
        photometric: Photometric interpretation of the source.
        voi: How the grey range was chosen: "lut", "linear", "linear_exact", "sigmoid",
            "percentile", "log" (percentiles of the logarithm) or "full".
        sex: "M", "F", "O" or "".
        age_years: Age at the study; None when unknown.
        manufacturer: Usual name of a known maker, "OTHER" or "".
        split: A split given by a metadata table; "" to draw it from the patient's hash.
        burned_in: True when the source says that text is burned into the pixels.
        range_low: Modality value (stored value of a picture) that maps to 0, before any
            inversion; None for "lut" and "sigmoid". See `data.grey` for the way back.
        range_high: Modality value that maps to 65535, before any inversion.
        window: (center, width) of the window that was applied.
        voi_count: Windows and VOI LUTs of the header; the first was taken.
        inverted: True when 65535 - grey was stored (MONOCHROME1, INVERSE).
        clipped_low: Share of the pixels, padding apart, below the range.
        clipped_high: Share above it.
        padded: Share of the pixels that the header calls padding.
        intent: "PRESENTATION", "PROCESSING" (raw detector data, rendered here) or "".
        overlays: Overlay planes of the source; none is burned in.
        orientation: What was done so that the image lies as it is looked at, one of
            `data.orientation.TURNS`; "" for nothing.
        aspect: Height of a stored pixel over its width; when not 1, the image was resampled to
            square pixels.
        spacing_kind: Where ``spacing_mm`` holds: "patient", "detector", "nominal" or "".
        repairs: What the header said wrong and the pixels corrected: "bits-stored", "high-bit".
    """

    pixels: np.ndarray[Any, np.dtype[np.uint16]]
    identity: Identity
    modality: str = ""
    view: str = "UNKNOWN"
    spacing_mm: tuple[float, float] | None = None
    bits_stored: int = 8
    syntax: str = ""
    photometric: str = "MONOCHROME2"
    voi: str = "full"
    sex: str = ""
    age_years: float | None = None
    manufacturer: str = ""
    split: str = ""
    burned_in: bool = False
    range_low: float | None = None
    range_high: float | None = None
    window: tuple[float, float] | None = None
    voi_count: int = 0
    inverted: bool = False
    clipped_low: float = 0.0
    clipped_high: float = 0.0
    padded: float = 0.0
    intent: str = ""
    overlays: int = 0
    orientation: str = ""
    aspect: float = 1.0
    spacing_kind: str = ""
    repairs: tuple[str, ...] = ()


Outlines: TypeAlias = "dict[str, list[np.ndarray[Any, np.dtype[np.float64]]]]"
"""Contours by name, each a list of (n, 2) points x, y in pixels, integers at pixel centres."""


class Box(NamedTuple):
    """A rectangle around a finding, by its edges in pixels: 0 is the outer edge of the first pixel.

    Args:
        label: Of the finding.
        x0: Left edge.
        y0: Top edge.
        x1: Right edge, above ``x0``.
        y1: Bottom edge, above ``y0``.
    """

    label: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(slots=True)
class SecondView:
    """The second images of B studies, see `data.studies`.

    Args:
        image: (B, 1, H, W) uint8, 0 where there is none.
        valid: (B, H, W) bool, False where letterboxing padded and where there is none.
        there: (B,) bool, whether there is one.
        image_id: Hashed ids, "" where there is none.
        view: Views, "" where there is none.
        shape: Height and width as stored, in pixels.
    """

    image: Tensor
    valid: Tensor
    there: Tensor
    image_id: list[str]
    view: list[str]
    shape: list[tuple[int, int]]

    def to(self, device: torch.device) -> SecondView:
        """Copy the tensors to a device."""
        moved: dict[str, Any] = {
            name: _moved(getattr(self, name), device) for name in ("image", "valid", "there")
        }
        return dataclasses.replace(self, **moved)


@dataclass(slots=True)
class Batch:
    """What the stream hands to a learner. All tensors are on the learner's device.

    Args:
        image: (B, 1, H, W) uint8; learners normalise it with `models.vit.normalise`.
        valid: (B, H, W) bool, False where letterboxing padded.
        lung: (B, H, W) bool, True inside the lung contour; all False when there is none.
        has_contour: (B,) bool.
        labels: (B, C) float32, 0 or 1, NaN where unknown, between them where a model said what its
            source calls uncertain; C may be 0.
        reports: For each language the B report texts, "" where there is none.
        image_id: The B hashed ids.
        patient_hash: The B hashed patients.
        view: The B views.
        outlines: For each image its contours by name ("right_lung", "heart", ...), each a list of
            (n, 2) points x, y in pixels of the frame, integers at pixel centres.
        boxes: For each image the boxes that were drawn on it, in pixels of the frame.
        shape: Height and width of each image as it is stored, in pixels.
        second: The second image of each study, where samples are studies; all else is of the first.
    """

    image: Tensor
    valid: Tensor
    lung: Tensor
    has_contour: Tensor
    labels: Tensor
    reports: dict[str, list[str]]
    image_id: list[str]
    patient_hash: list[str]
    view: list[str]
    outlines: list[Outlines] = field(default_factory=list)
    boxes: list[list[Box]] = field(default_factory=list)
    shape: list[tuple[int, int]] = field(default_factory=list)
    second: SecondView | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy the tensors to a device."""
        moved: dict[str, Any] = {
            name: _moved(getattr(self, name), device)
            for name in ("image", "valid", "lung", "has_contour", "labels")
        }
        second = None if self.second is None else self.second.to(device)
        return dataclasses.replace(self, **moved, second=second)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; of one that repeats a value, the value alone."""
    if tensor.numel() and not any(tensor.stride()):
        one = tensor[(slice(0, 1),) * tensor.ndim]
        return one.to(device, non_blocking=True).expand(tensor.shape)
    return tensor.to(device, non_blocking=True)


@dataclass(slots=True)
class Loss:
    """What a learner returns.

    Args:
        total: Scalar to minimise.
        parts: Scalars worth logging, detached.
    """

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Learner(Protocol):
    """What the training loop knows of an objective or a task: an ``nn.Module`` that has this."""

    needs: frozenset[str]
    encoder: nn.Module

    def __call__(self, batch: Batch, chance: Chance) -> Loss:
        """Forward pass and loss of one (micro-)batch; what is drawn for each sample comes from ``chance``."""
        ...


@dataclass(slots=True)
class Prediction:
    """What a task says of one image.

    Args:
        image_id: Hashed id.
        patient_hash: Hashed patient, for intervals over patients.
        text: Generated report, for report tasks.
        scores: Probability per label, for classification.
        reference: The truth it will be scored against: report text, or labels (NaN unknown).
    """

    image_id: str
    patient_hash: str
    text: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    reference: str | dict[str, float] = ""


def as_plain(value: object) -> Any:
    """Turn a Result (dataclass) into what JSON can hold; paths become text, NaN becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value
