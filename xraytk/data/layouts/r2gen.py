"""R2Gen's ``annotation.json``: reports and splits of IU X-ray and of MIMIC-CXR.

Source:
    Chen et al., R2Gen, EMNLP 2020, and its code: {"train": [...], "val": [...], "test": [...]},
    each item with id, report, image_path (a list), split; of MIMIC-CXR also study_id, subject_id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from xraytk.data.layouts.cells import file_key, hasher, report_of
from xraytk.data.layouts.layout import Counts, Draft
from xraytk.data.layouts.tables import Index, PublicSet, opened
from xraytk.data.text import Facts, Report
from xraytk.errors import DataError

R2GEN = PublicSet(
    "R2Gen's annotation.json",
    "github.com/cuhksz-nlp/R2Gen (links for iu_xray and mimic_cxr)",
    {"annotation.json": (), "*annotation*.json": ()},
)
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validate": "val", "test": "test"}
_IU = re.compile(r"CXR(\d+)_")
_CHUNK = 1 << 20
_MAX_ITEM = 1 << 24


def read_r2gen(index: Index, key: bytes) -> Draft:
    """Read R2Gen's annotations: reports, patients, splits.

    Patients and studies have the ids that the layouts "openi" and "mimic" give them.

    Args:
        index: The folder's tables.
        key: Of the hashes.

    Raises:
        DataError: If the file is missing or no such JSON.
    """
    main = R2GEN.need(index)
    return Draft(
        tables=(main,),
        metadata=lambda counts: _facts(main, key, counts),
        reports=lambda counts: _reports(main),
    )


def is_annotation(path: Path) -> bool:
    """Whether a JSON file begins as R2Gen's do."""
    try:
        _, item = next(items_of(path))
    except (DataError, StopIteration):
        return False
    return {"id", "report", "image_path"} <= item.keys()


def items_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream (split's name, item) of an object of lists of objects; one item is held at a time.

    Raises:
        DataError: If the file is no such JSON.
    """
    with opened(path) as stream:
        reader = _Reader(stream)
        try:
            reader.take("{")
            while not reader.took("}"):
                part = reader.value()
                reader.take(":")
                reader.take("[")
                while not reader.took("]"):
                    item = reader.value()
                    reader.took(",")
                    if not isinstance(item, dict) or not isinstance(part, str):
                        raise ValueError
                    yield part, item
                reader.took(",")
        except ValueError:
            raise DataError(
                f"table {path.name} is not R2Gen's JSON",
                'wanted {"train": [{"id", "report", "image_path", ...}], "val": [...], "test": [...]}',
            ) from None


class _Reader:
    """Takes JSON values one by one from a stream."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def _more(self) -> bool:
        chunk = self._stream.read(max(_CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _next(self) -> str:
        """The next sign that is no blank; it is not taken."""
        while True:
            while self._at < len(self._text) and self._text[self._at].isspace():
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise ValueError

    def took(self, sign: str) -> bool:
        """Take a sign if it is the next."""
        here = self._next() == sign
        self._at += here
        return here

    def take(self, sign: str) -> None:
        """Take a sign that must be the next."""
        if not self.took(sign):
            raise ValueError

    def value(self) -> Any:
        """Take a string, list or object."""
        if self._next() not in '"[{':
            raise ValueError
        while True:
            try:
                value, self._at = self._decode(self._text, self._at)
            except ValueError:
                if len(self._text) - self._at > _MAX_ITEM or not self._more():
                    raise
            else:
                return value


def _images(item: Mapping[str, Any]) -> list[str]:
    paths = item.get("image_path")
    return [p for p in (paths if isinstance(paths, list) else [paths]) if isinstance(p, str) and p]


def _facts(main: Path, key: bytes, counts: Counts) -> Iterator[tuple[str, str, Facts]]:
    hashes = {
        name: (hasher(key, "patient", name), hasher(key, "study", name))
        for name in ("openi", "mimic", "r2gen")
    }
    for part, item in items_of(main):
        public, patient, study = _who(item)
        images = _images(item)
        if not images or not patient:
            counts["items left out: they name no image or no patient"] += 1
            continue
        patient_hash, study_hash = hashes[public]
        split = _SPLITS.get(str(item.get("split") or part).strip().casefold(), "")
        facts = Facts(patient_hash=patient_hash(patient), study_hash=study_hash(study), split=split)
        for image in images:
            yield "file", _key(public, image), facts


def _who(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """(set, patient, study) of an item; "r2gen" for data of another hospital in the same form."""
    subject, study = str(item.get("subject_id") or ""), str(item.get("study_id") or "")
    if subject and study:
        return "mimic", subject, study
    name = str(item.get("id") or "")
    found = _IU.match(name) or next(filter(None, (_IU.match(Path(i).name) for i in _images(item))), None)
    if found:
        return "openi", found[1], found[1]
    return "r2gen", subject or name, study or name


def _key(public: str, image: str) -> str:
    """MIMIC's names are unique by themselves; IU's are "CXR2384_IM-0942/0.png"."""
    return file_key(image, 1 if public == "mimic" else 0)


def _reports(main: Path) -> Iterator[tuple[str, str, Report]]:
    for _, item in items_of(main):
        report = report_of(str(item.get("report") or ""))
        if report != Report():
            public = _who(item)[0]
            for image in _images(item):
                yield "file", _key(public, image), report
