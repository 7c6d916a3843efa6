"""Why a file gives no radiograph: fixed codes, so that a million refusals can be counted."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "empty": "the file has no bytes",
    "not-dicom": "neither a DICOM file nor a PNG, JPEG or TIFF picture",
    "truncated": "the file ends before its pixels do",
    "broken-header": "the header cannot be parsed",
    "implausible-header": "the header contradicts itself or the compressed pixels",
    "no-pixels": "the object holds no image (a report, a plan, a directory)",
    "report": "a structured report, which is text and no image",
    "no-text": "a structured report without findings or impression",
    "wrong-modality": "the modality is none of CR, DX and RG",
    "not-chest": "the header says, or the pixels show, that this is no chest radiograph",
    "for-processing": "raw detector data that are not meant to be looked at (For Processing)",
    "multi-frame": "more than one frame",
    "colour": "colours that have no grey meaning (a palette without tables, an odd number of samples)",
    "unsupported-syntax": "a transfer syntax that no decoder here reads",
    "undecodable": "the decoder failed on the pixels",
    "too-large": "more pixels, or more bytes once inflated, than any radiograph has",
    "too-small": "fewer pixels than a radiograph needs",
    "burned-in": "text in the pixels: such images are not wanted, or too much of it to be blanked",
    "blank": "all pixels have one value",
}
"""Reason code to explanation."""


class Refused(Exception):  # noqa: N818, an answer rather than an error
    """A file that gives no radiograph.

    Args:
        reason: One of `REASONS`.
        detail: Numbers, a modality code or a transfer syntax UID; never texts of the header.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        assert reason in REASONS
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        """Return the code and the detail."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason
