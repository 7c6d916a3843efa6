"""DICOM segmentations made by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset

from xraytk.data.outlines import seg


def items(*facts: dict[str, Any]) -> list[Dataset]:
    made = []
    for fact in facts:
        ds = Dataset()
        for keyword, value in fact.items():
            setattr(ds, keyword, value)
        made.append(ds)
    return made


def code(value: str, **more: Any) -> list[Dataset]:
    return items({"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": "x", **more})


def write(path: Path, masks: list[Any], segments: list[Dataset], uids: list[str], **more: Any) -> Path:
    """A binary segmentation: one frame a mask, of the instance of the same place."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = seg.SOP_CLASS, "1.2.3", "SEG"
    ds.SegmentationType, ds.BitsAllocated = "BINARY", 1
    ds.Rows, ds.Columns = masks[0].shape
    ds.NumberOfFrames = len(masks)
    ds.SegmentSequence = segments
    references = items(*({"ReferencedSOPInstanceUID": uid} for uid in dict.fromkeys(uids)))
    ds.ReferencedSeriesSequence = items(
        {"SeriesInstanceUID": "1.2", "ReferencedInstanceSequence": references}
    )
    ds.PerFrameFunctionalGroupsSequence = items(
        *(
            {
                "SegmentIdentificationSequence": items({"ReferencedSegmentNumber": i % len(segments) + 1}),
                "DerivationImageSequence": items(
                    {"SourceImageSequence": items({"ReferencedSOPInstanceUID": uid})}
                ),
            }
            for i, uid in enumerate(uids)
        )
    )
    bits = np.concatenate([m.ravel() for m in masks])
    data = np.packbits(bits, bitorder="little").tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = seg.SOP_CLASS, "1.2.3"
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path
