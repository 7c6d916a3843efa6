"""Ready layouts: public chest radiograph data sets, read as they are published.

A layout is a function (index of tables, key) -> Draft. Any other ``package.module:function``
can be named instead of a row of the table.
"""

from __future__ import annotations

from pathlib import Path

from xraytk.config import resolve
from xraytk.data.layouts import chexpert, mimic, nih, openi, padchest, r2gen, vindr
from xraytk.data.layouts.layout import Box, Layout, boxes_on, surveyed
from xraytk.data.layouts.tables import Index, PublicSet, index_of
from xraytk.errors import DataError, UsageError

LAYOUTS = {
    "nih": "xraytk.data.layouts.nih:read_nih",
    "chexpert": "xraytk.data.layouts.chexpert:read_chexpert",
    "mimic": "xraytk.data.layouts.mimic:read_mimic",
    "padchest": "xraytk.data.layouts.padchest:read_padchest",
    "vindr": "xraytk.data.layouts.vindr:read_vindr",
    "rsna": "xraytk.data.layouts.nih:read_rsna",
    "openi": "xraytk.data.layouts.openi:read_openi",
    "r2gen": "xraytk.data.layouts.r2gen:read_r2gen",
}

SETS: dict[str, PublicSet] = {
    "nih": nih.NIH,
    "chexpert": chexpert.CHEXPERT,
    "mimic": mimic.MIMIC,
    "padchest": padchest.PADCHEST,
    "vindr": vindr.VINDR,
    "rsna": nih.RSNA,
    "openi": openi.OPENI,
    "r2gen": r2gen.R2GEN,
}
"""What each set is called, how it is known, and where it is to be had."""


def read_layout(name: str, folder: Path, key: bytes) -> Layout:
    """Read what a public data set says of its images.

    The tables are walked through once, so that all is known that must be said before work
    begins; what the Layout gives is streamed from them again.

    Args:
        name: A row of `LAYOUTS`, or ``package.module:function``.
        folder: The data set, or a folder in which its tables lie up to two levels deep.
        key: Of the hashes.

    Raises:
        UsageError: If there is no layout of that name.
        DataError: If the set's tables are not there, or broken.
    """
    if name not in LAYOUTS and ":" not in name:
        raise UsageError(f"there is no layout {name!r}", f"wanted one of {', '.join(LAYOUTS)}")
    return surveyed(resolve(LAYOUTS.get(name, name))(index_of(folder), key))


def detect_layout(folder: Path) -> str | None:
    """The first layout whose main table lies in a folder, or up to two levels below.

    Args:
        folder: Of images, perhaps a public data set.

    Returns:
        A row of `LAYOUTS`, or None; it never raises for a folder that cannot be read.
    """
    try:
        index = index_of(folder)
    except DataError:
        return None
    return next((name for name, public in SETS.items() if _is_in(name, public, index)), None)


def _is_in(name: str, public: PublicSet, index: Index) -> bool:
    main = public.main(index)
    if name == "openi":
        projections = index.find("indiana_projections.csv")
        return bool(main and projections) or openi.xml_folder(index) is not None
    if name == "r2gen":
        return main is not None and r2gen.is_annotation(main)
    return main is not None


__all__ = ["LAYOUTS", "SETS", "Box", "Layout", "boxes_on", "detect_layout", "read_layout"]
