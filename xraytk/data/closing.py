"""The output of ingest beside its tables: where it lies, the contact sheet, and what must go."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xraytk.data import manifest, pictures
from xraytk.data.gather import PART
from xraytk.data.remote import is_url
from xraytk.data.storage import Storage
from xraytk.data.unit import PICTURES

SHEET_IMAGES = 64
_IMAGE_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go, and the local folder of journal, lock and tables: one and the same, unless remote."""

    storage: Storage
    folder: Path

    def finish(self) -> None:
        """Bring the tables to where the images are, if that is elsewhere."""
        if self.storage.local is not None:
            return
        for path in sorted(self.folder.rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_file() and not name.startswith((".", "images/", "journal.sqlite")):
                self.storage.upload(path, name)


def output_at(place: str | Path, local: Path) -> Output:
    """The output at a folder or URL.

    Args:
        place: Where images go.
        local: Folder of journals and tables of outputs that are no folder of this machine.
    """
    if str(place).startswith("file://"):
        place = Path(url2pathname(urlsplit(str(place)).path))
    if not is_url(str(place)):
        return Output(Storage(os.path.abspath(place)), Path(place))  # noqa: PTH100, as it is given
    url = str(place).rstrip("/")
    return Output(Storage(url), local / hashlib.sha256(url.encode()).hexdigest()[:16])


@contextlib.contextmanager
def swept(storage: Storage) -> Iterator[None]:
    """Leave no temporary image behind, whatever happens."""
    storage.sweep("images")
    try:
        yield
    finally:
        storage.sweep("images")


def short_columns(out: Path) -> pa.Table:
    """The columns of the manifest that are short; empty when there is none."""
    columns = ["image_id", "patient_hash", "view", "syntax", "burned_in", "text_boxes", "pixel_view"]
    if not (out / PART).exists():
        return manifest.MANIFEST.empty_table().select(columns)
    return pq.read_table(out / PART, columns=columns)


def of_pictures(images: pa.Table) -> int:
    """Images that were pictures, of which no DICOM file is written."""
    return int(pc.sum(pc.is_in(images["syntax"], pa.array(PICTURES))).as_py() or 0)


def write_contact_sheet(path: Path, storage: Storage, images: pa.Table) -> int:
    """Draw up to 64 images, evenly over the manifest.

    Returns:
        How many of them were damaged; these are removed, and the next run makes them again.
    """
    places = np.linspace(0, len(images) - 1, min(SHEET_IMAGES, len(images))).round().astype(int)
    chosen = images.select(["image_id", "view"]).take(places).to_pylist()
    tiles, captions = [], []
    for row in chosen:
        name = manifest.image_path(row["image_id"])
        try:
            tiles.append(pictures.decode_png(storage.read(name)))
            captions.append(f"{row['image_id']} {row['view']}")
        except (OSError, ValueError):
            storage.remove(name)
    pictures.write_png(path, pictures.montage(tiles, captions))
    return len(chosen) - len(tiles)


def prune(storage: Storage, images: pa.Table) -> None:
    """Remove images of earlier runs that no row of the manifest names any more."""
    ids = images["image_id"].to_numpy().astype("S16")  # sorted
    kinds: tuple[Literal["images", "dicom"], ...] = ("images", "dicom")
    for kind in kinds:
        for name in storage.names(kind):
            stem = name.rpartition("/")[2].rpartition(".")[0]
            if _IMAGE_ID.fullmatch(stem) and name == manifest.image_path(stem, kind):
                at = np.searchsorted(ids, stem.encode())
                if at == len(ids) or ids[at] != stem.encode():
                    storage.remove(name)


def prune_thumbnails(place: Output) -> None:
    """Remove thumbnails of files that are no longer refused for what they show."""
    path = place.folder / "rejected.parquet"
    table = pq.read_table(path, columns=["source_hash"], filters=[("reason", "=", "not-chest")])
    kept = set(table["source_hash"].to_pylist())
    for name in list(place.storage.names("rejected")):
        stem = name.rpartition("/")[2].rpartition(".")[0]
        if _IMAGE_ID.fullmatch(stem) and stem not in kept:
            place.storage.remove(name)
