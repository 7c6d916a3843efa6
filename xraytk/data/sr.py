"""DICOM Structured Reports: the text of a report, its sections, and whom it names.

Text under the headings of a report (PS3.16 CID 7001, 7002, their LOINC twins, or the words of a
heading in English or Chinese) becomes its sections. What the tree says of the observer, the
patient or the procedure's context is no text of the report; names, ids and dates are secrets.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset

from xraytk.data import dicom, header
from xraytk.data.refused import Refused
from xraytk.data.scrub import ESCAPE
from xraytk.data.sections import NAMES, Sections, pieces, section_of, training_text
from xraytk.records import Identity

_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
    "1.2.840.10008.5.1.4.1.1.88.35": "Extensible SR",
}
_HEADER_DEPTH = 3
MAX_DEPTH, MAX_ITEMS, MAX_LETTERS = 32, 20_000, 1 << 20
"""Of a content tree: reports have a depth of ten, hundreds of items and thousands of letters."""

_SECTION_OF_CODE = {
    **dict.fromkeys(("121070", "121071", "59776-5", "18782-3"), "findings"),
    **dict.fromkeys(("121072", "121073", "121076", "121077", "121074", "121075", "121111"), "impression"),
    **dict.fromkeys(("19005-8", "55110-1", "18783-0", "55112-7"), "impression"),
    **dict.fromkeys(("121109", "121062", "18785-6", "55115-0", "59768-2"), "indication"),
    **dict.fromkeys(("121066", "121068", "121069", "55114-3", "18834-2"), "comparison"),
    **dict.fromkeys(("121064", "121065", "55111-9"), "technique"),
    **dict.fromkeys(("121060", "121110", "11329-0", "55108-5"), "history"),
    **dict.fromkeys(("121078", "121113", "55107-7", "55109-3", "121180", "55113-5"), "other"),
}  # fmt: skip
_SCHEMES = frozenset({"DCM", "LN", "SRT", "SCT", "99LN", "LOINC"})
_SAID = {
    "TEXT": "TextValue",
    "PNAME": "PersonName",
    "DATE": "Date",
    "TIME": "Time",
    "DATETIME": "DateTime",
    "UIDREF": "UID",
}
_LOOKS_GB = re.compile(r"^[\x00-\x7f]*(?:[\xa1-\xf7][\xa1-\xfe][\x00-\x7f]*){2,}$")
_BESIDE = frozenset({"HAS CONCEPT MOD", "HAS PROPERTIES"})
_CONTEXT = frozenset({"HAS OBS CONTEXT", "HAS ACQ CONTEXT"})
_ALSO_SECRET = ("VerifyingOrganization", "VerificationDateTime", "ObservationDateTime")


@dataclass(frozen=True, slots=True)
class SrReport:
    """A structured report. It never prints what it holds.

    Args:
        study_uid: Of the study that it reports.
        accession: Number of the order.
        identity: Of the header, with every name, id and date of the content tree as secrets; these
            and the ids are to be scrubbed from the text.
        text: Findings and impression, on one line.
        sections: All there are.
        final: Complete, and verified by somebody.
    """

    study_uid: str = field(repr=False)
    accession: str = field(repr=False)
    identity: Identity = field(repr=False)
    text: str = field(repr=False)
    sections: Sections = field(repr=False)
    final: bool


def read_sr(data: bytes) -> SrReport:
    """Read a Structured Report: Basic Text, Enhanced, Comprehensive (3D) or Extensible.

    Args:
        data: The whole file.

    Raises:
        Refused: With a reason of `REASONS`; it never carries a text of the file.

    Source:
        DICOM PS3.3 C.17.3 (content tree), PS3.16 CID 7001 and 7002 (headings).
    """
    if not data:
        raise Refused("empty")
    with dicom.silence():
        try:
            return _read(dicom.parse(data))
        except (Refused, MemoryError):
            raise
        except Exception as error:  # pydicom converts values late: any access may meet a broken one
            raise Refused("broken-header", type(error).__name__) from None


def _read(ds: Dataset) -> SrReport:
    if header.text(ds, "SOPClassUID") not in _CLASSES:
        raise Refused("no-text", "no structured report of text")
    if "ContentSequence" not in ds:
        raise Refused("broken-header", "no content tree")
    found = _Found()
    _walk(ds, found)
    sections = found.sections()
    who = header.identity(ds)
    for keyword in _ALSO_SECRET:
        found.secrets += _texts_of(ds, keyword)
    secrets = {*who.secrets, *(s for s in found.secrets if len(s) > 1)}
    who = Identity(
        patient_id=who.patient_id,
        study_uid=who.study_uid,
        sop_uid=who.sop_uid,
        accession=who.accession,
        secrets=tuple(sorted(secrets, key=lambda s: (-len(s), s))),
    )
    text = training_text(sections)
    if not text:
        raise Refused("no-text")
    flags = header.text(ds, "CompletionFlag").upper(), header.text(ds, "VerificationFlag").upper()
    return SrReport(who.study_uid, who.accession, who, text, sections, flags == ("COMPLETE", "VERIFIED"))


class _Found:
    """What the walk gathers: texts with their section ("" if no heading claims it), secrets."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []
        self.secrets: list[str] = []
        self.items = self.letters = 0

    def count(self, depth: int) -> None:
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise Refused(
                "implausible-header", f"content tree beyond {MAX_DEPTH} levels or {MAX_ITEMS} items"
            )

    def add(self, section: str, text: str) -> None:
        self.letters += len(text)
        if self.letters > MAX_LETTERS:
            raise Refused("implausible-header", f"more than {MAX_LETTERS} letters")
        self.texts.append((section, text))

    def sections(self) -> Sections:
        """The texts by section; headings inside a text are obeyed."""
        unclaimed = not any(s in ("findings", "impression") for s, _ in self.texts)
        bodies: dict[str, list[str]] = {name: [] for name in NAMES}
        for section, text in self.texts:
            parts = pieces(text)
            plain = all(not p.heading for p in parts)
            for part in parts:
                where = part.section
                if plain or not part.heading:
                    where = section or (part.section if unclaimed else "other")
                if body := part.body.strip():
                    bodies[where].append(body)
        return Sections(**{name: "\n".join(texts) for name, texts in bodies.items()})


def _walk(root: Dataset, found: _Found) -> None:
    """Go through the content tree in its order, without recursion."""
    stack: list[tuple[Iterator[Any], str, bool, int]] = [(iter(root.ContentSequence), "", False, 1)]
    while stack:
        items, section, context, depth = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        found.count(depth)
        relation = header.text(item, "RelationshipType").upper()
        name, said = _concept(item)
        inside = context or relation in _CONTEXT
        here = said or section
        _take(item, found, "" if said else name, here, inside, relation)
        if "ContentSequence" in item:
            stack.append((iter(item.ContentSequence), here, inside, depth + 1))


def _take(item: Dataset, found: _Found, name: str, section: str, context: bool, relation: str) -> None:
    """Add one content item: to the texts, or to the secrets."""
    kind = header.text(item, "ValueType").upper()
    if kind in _SAID:
        value = _words(item, _SAID[kind])
        if kind != "TEXT" or context or relation == "HAS CONCEPT MOD":
            found.secrets += _names(value) if kind == "PNAME" else [value]
        elif value:
            found.add(section, value)
    elif (
        context
        or relation in ("HAS CONCEPT MOD", "HAS PROPERTIES")
        or section not in ("findings", "impression")
    ):
        return
    elif kind == "CODE":
        meaning = _words(_first(item, "ConceptCodeSequence"), "CodeMeaning")
        if meaning:
            found.add(section, _sentence(name, meaning))
    elif kind == "NUM":
        measured = _first(item, "MeasuredValueSequence")
        value = header.text(measured, "NumericValue")
        unit = header.text(_first(measured, "MeasurementUnitsCodeSequence"), "CodeValue")
        if value:
            found.add(section, _sentence(name, f"{value} {unit}".strip() if unit != "1" else value))


def _words(ds: Dataset, keyword: str) -> str:
    """An element's text, with GB 2312 made readable where the parser leaves it.

    Its escape sequences are dropped, and text of a file that says GB 2312 but lacks them, as many
    do, is read as GB 2312.

    Source:
        DICOM PS3.5 6.1.2.5 and annex K.
    """
    said = header.text(ds, keyword)
    text = ESCAPE.sub("", said)
    if text == said and _LOOKS_GB.search(text):
        with contextlib.suppress(UnicodeError):
            return text.encode("latin-1").decode("gb18030")
    return text


def _names(name: str) -> list[str]:
    """A person's name as a secret, whole and in its parts."""
    return [name, *header.name_parts(name)]


def _concept(item: Dataset) -> tuple[str, str]:
    """The meaning of an item's name, and the section that it opens; "" for none."""
    code = _first(item, "ConceptNameCodeSequence")
    meaning = _words(code, "CodeMeaning")
    known = header.text(code, "CodingSchemeDesignator").upper() in _SCHEMES
    return meaning, (_SECTION_OF_CODE.get(header.text(code, "CodeValue"), "") if known else "") or section_of(
        meaning
    )


def _sentence(name: str, said: str) -> str:
    zh = re.search("[\u4e00-\u9fff]", said) is not None
    whole = f"{name}{'：' if zh else ': '}{said}" if name else said
    return whole + ("。" if zh else ".")


def _first(ds: Dataset, keyword: str) -> Dataset:
    items = header.items_of(ds, keyword)
    return items[0] if items else Dataset()


def _texts_of(ds: Dataset, keyword: str, depth: int = 0) -> list[str]:
    """An element's texts, wherever in the header it stands; the content tree is left out."""
    out = [header.text(ds, keyword)] if keyword in ds else []
    for element in ds if depth < _HEADER_DEPTH else ():
        if element.VR == "SQ" and element.keyword != "ContentSequence":
            for item in element.value:
                out += _texts_of(item, keyword, depth + 1)
    return out
