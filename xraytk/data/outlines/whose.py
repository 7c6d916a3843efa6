"""Which ingested image a row of a file is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import pyarrow as pa

from xraytk.data.deid import hashed
from xraytk.data.outlines.outline import Outline, RefusedError
from xraytk.data.outlines.place import COLUMNS, Facts

_ENDINGS = frozenset(
    {".png", ".dcm", ".dicom", ".dic", ".ima", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".json", ".gif"}
)  # fmt: skip


class Images:
    """The ingested images, found by id, by the name of their source, or by instance.

    Args:
        table: Of `place.COLUMNS` of the manifest.
        key: Of the hashes; None when the operator has none: then instances are found only by
            their de-identified files.
        paths: Gives ids and paths of sources, as `idmap.IdMap.items`; None when there is no map.
            It is called when the first name that is no id is asked for.
        dicom: Folder of the de-identified DICOM files, if there is one.
    """

    def __init__(
        self,
        table: pa.Table,
        *,
        key: bytes | None = None,
        paths: Callable[[], Iterable[tuple[str, str]]] | None = None,
        dicom: Path | None = None,
    ) -> None:
        self._table = table.select(COLUMNS).combine_chunks()
        self._rows = {name: row for row, name in enumerate(table["image_id"].to_pylist())}
        self._key, self._list_paths, self._dicom = key, paths, dicom
        self._sources: dict[str, list[tuple[tuple[str, ...], str]]] | None = None
        self._instances: dict[str, str] | None = None

    def facts(self, image_id: str) -> Facts | None:
        """What the manifest says of an image; None where it is not one of the ingested ones."""
        row = self._rows.get(image_id)
        return None if row is None else Facts(**self._table.slice(row, 1).to_pylist()[0])

    def find(self, outline: Outline) -> tuple[Facts, bool]:
        """The image of an outline.

        Returns:
            Its facts, and whether it was found as a source and not as an ingested image.

        Raises:
            RefusedError: "unknown-image", "ambiguous-name" or "another-series".
        """
        if outline.uid:
            return self._by_instance(outline), True
        for name in outline.names:
            if (found := self.facts(_stem(_parts(name)[-1]))) is not None:
                return found, False
        is_ambiguous = False
        for name in outline.names:
            candidates = self._by_source(_parts(name))
            is_ambiguous |= len(candidates) > 1
            if len(candidates) == 1:
                facts = self.facts(candidates[0])
                assert facts is not None
                return facts, True
        raise RefusedError("ambiguous-name" if is_ambiguous else "unknown-image")

    def _by_source(self, parts: tuple[str, ...]) -> list[str]:
        """Ids of the images whose source's path ends most like a name; several are one too many."""
        if self._sources is None:
            self._sources = {}
            for image_id, path in self._list_paths() if self._list_paths else ():
                if image_id in self._rows:
                    whole = _parts(path.replace("!", "/"))
                    self._sources.setdefault(_stem(whole[-1]), []).append((whole, image_id))
        found = self._sources.get(_stem(parts[-1]), [])
        alike = [(_shared(parts, path), image_id) for path, image_id in found]
        return sorted(image_id for count, image_id in alike if count == max(alike)[0])

    def _by_instance(self, outline: Outline) -> Facts:
        if self._key is not None and (found := self.facts(hashed(self._key, "image", outline.uid))):
            return found
        for name in outline.names:
            image_id = _stem(_parts(name)[-1])
            file = self._dicom / image_id[:2] / f"{image_id}.dcm" if self._dicom else None
            facts = self.facts(image_id)
            if facts and file and _instance(file) == outline.uid:
                return facts
        if self._instances is None:
            files = sorted(self._dicom.glob("*/*.dcm")) if self._dicom else []
            self._instances = {_instance(file): file.stem for file in files}
        facts = self.facts(self._instances.get(outline.uid, ""))
        if facts is None:
            raise RefusedError("another-series", "no reference" if outline.uid == "-" else "")
        return facts


def _parts(name: str) -> tuple[str, ...]:
    """Parts of a path of either kind of system, without case; a name at least."""
    return PurePosixPath(name.replace("\\", "/").replace("\0", "").casefold()).parts or ("",)


def _stem(name: str) -> str:
    """A file's name without an ending of a picture; other dots belong to it, as in UIDs."""
    ending = PurePosixPath(name).suffix
    return name[: -len(ending)] if ending in _ENDINGS else name


def _shared(name: tuple[str, ...], path: tuple[str, ...]) -> int:
    """How many parts from the end on are the same; the last without its ending."""
    count = 1
    for a, b in zip(name[-2::-1], path[-2::-1], strict=False):
        if a != b:
            break
        count += 1
    return count


def _instance(file: Path) -> str:
    """SOP Instance UID of one of our own DICOM files; "" when it cannot be read."""
    from pydicom import dcmread

    try:
        return str(dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:
        return ""
