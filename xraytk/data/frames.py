"""Enhanced objects of one frame: what their functional groups say, brought to where it is looked for."""

from __future__ import annotations

from pydicom import Dataset

from xraytk.data.header import items_of

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MACROS = {
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "FramePixelDataPropertiesSequence": (
        "PixelIntensityRelationship",
        "PixelIntensityRelationshipSign",
        "ImagerPixelSpacing",
    ),
    "PatientOrientationInFrameSequence": ("PatientOrientation",),
}
"""The macros that are read; what belongs together is taken together or not at all."""


def lift(ds: Dataset) -> None:
    """Give the top level what only the functional groups of its one frame say, in place.

    What the top level says itself stays. Objects of several frames, which are refused, and broken
    groups are left as they are.

    Args:
        ds: Header of an object.

    Source:
        DICOM PS3.3 C.7.6.16 (functional groups) and C.7.6.16.2.1, .9 and .10 (pixel measures, pixel
        value transformation, frame VOI LUT), C.8.19.6 (XA and XRF).
    """
    if not any(name in ds for name in _GROUPS) or str(ds.get("NumberOfFrames") or 1) != "1":
        return
    for group in _GROUPS:
        for held in items_of(ds, group)[:1]:
            for macro, keywords in _MACROS.items():
                if not any(_says(ds, keyword) for keyword in keywords):
                    for item in items_of(held, macro)[:1]:
                        for keyword in filter(item.__contains__, keywords):
                            ds[keyword] = item[keyword]


def _says(ds: Dataset, keyword: str) -> bool:
    return keyword in ds and not ds[keyword].is_empty
