from __future__ import annotations

import io
import random
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from xraytk.data.refused import REASONS, Refused
from xraytk.data.scrub import scrub_report
from xraytk.data.sr import MAX_DEPTH, read_sr
from xraytk.data.sr_class import is_sr

BASIC, ENHANCED, COMPREHENSIVE = (f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (11, 22, 33))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def _item(
    kind: str, concept: tuple[str, str, str] | None = None, relation: str = "CONTAINS", **values: Any
) -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = relation, kind
    if concept:
        ds.ConceptNameCodeSequence = [_code(*concept)]
    if children := values.pop("children", None):
        ds.ContentSequence = children
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _sr(
    content: list[Dataset], *, sop_class: str = BASIC, charset: Any = "ISO_IR 192", **more: Any
) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, "1.2.826.0.1.3680043.8.498.7"
    ds.StudyDate, ds.AccessionNumber, ds.Modality = "20240305", "ACC77123", "SR"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Doe^Jane", "4711", "19600102"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.8", "1.2.826.0.1.3680043.8.498.9"
    ds.CompletionFlag, ds.VerificationFlag, ds.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    ds.ConceptNameCodeSequence = [_code("18748-4", "LN", "Diagnostic Imaging Report")]
    ds.ContentSequence = content
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    return ds


def _bytes(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def _english() -> list[Dataset]:
    observer = _item(
        "PNAME", ("121008", "DCM", "Person Observer Name"), "HAS OBS CONTEXT", PersonName="Curie^Marie"
    )
    house = _item("TEXT", ("121009", "DCM", "Organization"), "HAS OBS CONTEXT", TextValue="Radium Institute")
    history = _item(
        "CONTAINER",
        ("121060", "DCM", "History"),
        children=[
            _item("TEXT", ("121060", "DCM", "History"), TextValue="Cough, works with Pierre."),
        ],
    )
    findings = _item(
        "CONTAINER",
        ("121070", "DCM", "Findings"),
        children=[
            _item(
                "TEXT",
                ("121071", "DCM", "Finding"),
                TextValue="Patchy opacity in the right lower lobe.",
                children=[
                    _item("NUM", ("81827009", "SCT", "Diameter"), "HAS PROPERTIES", MeasuredValueSequence=[]),
                ],
            ),
            _item(
                "CODE",
                ("121071", "DCM", "Finding"),
                ConceptCodeSequence=[_code("36118008", "SCT", "Pneumothorax absent")],
            ),
            _item("NUM", ("1", "99X", "Cardiothoracic ratio"), MeasuredValueSequence=[_number("0.52", "1")]),
            _item("DATE", ("1", "99X", "Prior"), Date="20230711"),
        ],
    )
    impression = _item("TEXT", ("121073", "DCM", "Impression"), TextValue="Pneumonia. Dr. Curie was told.")
    return [observer, house, history, findings, impression]


def _number(value: str, unit: str) -> Dataset:
    ds = Dataset()
    ds.NumericValue, ds.MeasurementUnitsCodeSequence = value, [_code(unit, "UCUM", "unit")]
    return ds


@pytest.mark.parametrize("sop_class", [BASIC, ENHANCED, COMPREHENSIVE])
@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_a_structured_report_is_read_in_every_class_and_syntax(sop_class: str, syntax: str) -> None:
    data = _bytes(_sr(_english(), sop_class=sop_class), syntax)
    assert is_sr(data)
    report = read_sr(data)
    assert report.sections.findings.split("\n") == [
        "Patchy opacity in the right lower lobe.",
        "Pneumothorax absent.",
        "Cardiothoracic ratio: 0.52.",
    ]
    assert report.sections.impression == "Pneumonia. Dr. Curie was told."
    assert report.sections.history == "Cough, works with Pierre."
    assert report.text.startswith("Patchy opacity")
    assert "Pierre" not in report.text
    assert (report.study_uid, report.accession, report.final) == (
        "1.2.826.0.1.3680043.8.498.8",
        "ACC77123",
        False,
    )
    secrets = report.identity.secrets
    assert {"Curie^Marie", "Radium Institute", "20230711", "Doe", "ACC77123"} <= set(secrets)
    assert scrub_report(report.text, secrets).text.endswith("Pneumonia. Dr. ___ was told.")


def _gb2312(text: str, escape: bool) -> str:
    """A text whose bytes, written as Latin-1, are GB 2312 with or without its escape sequence."""
    return ((b"\x1b$)A" if escape else b"") + text.encode("gb2312")).decode("latin-1")


@pytest.mark.parametrize("charset", ["GB18030", "GBK", "ISO_IR 192", "escaped", "unescaped"])
def test_chinese_reports_in_every_character_set(charset: str) -> None:
    def write(text: str) -> str:
        return _gb2312(text, charset == "escaped") if "escaped" in charset else text

    content = [
        _item("TEXT", ("F01", "99HIS", write("检查所见")), TextValue=write("双肺纹理清晰，心影不大。")),
        _item("TEXT", ("F02", "99HIS", write("诊断意见")), TextValue=write("心肺膈未见异常。报告医师：张三")),
        _item("PNAME", None, "HAS OBS CONTEXT", PersonName=f"Zhang^San={write('张')}^{write('三')}"),
    ]
    said = ["", "ISO 2022 IR 58"] if "escaped" in charset else charset
    report = read_sr(_bytes(_sr(content, charset=said)))
    assert report.text == "双肺纹理清晰，心影不大。心肺膈未见异常。"
    assert report.sections.other == "张三"
    if charset != "unescaped":
        assert scrub_report("和张三谈过", report.identity.secrets).text == "和___谈过"


@pytest.mark.parametrize(
    "concept",
    [("59776-5", "LN", "x"), ("121071", "DCM", "x"), ("1", "99HIS", "Findings"), ("1", "99HIS", "影像表现")],
)
def test_findings_are_known_by_code_or_by_word(concept: tuple[str, str, str]) -> None:
    report = read_sr(_bytes(_sr([_item("TEXT", concept, TextValue="Clear lungs.")])))
    assert report.sections.findings == "Clear lungs."


def test_a_whole_report_in_one_text_is_split_at_its_headings() -> None:
    words = "INDICATION: Cough.\r\nFINDINGS: Clear lungs.\r\nIMPRESSION: Normal.\r\nDictated by: Marie Curie"
    report = read_sr(_bytes(_sr([_item("TEXT", ("1", "99HIS", "Report text"), TextValue=words)])))
    assert report.text == "Clear lungs. Normal."
    assert (report.sections.indication, report.sections.other) == ("Cough.", "Marie Curie")


def test_a_text_that_no_heading_claims_is_findings_when_nothing_else_is() -> None:
    plain = _item("TEXT", ("1", "99HIS", "Remark"), TextValue="Clear lungs.")
    assert read_sr(_bytes(_sr([plain]))).text == "Clear lungs."
    claimed = _item("TEXT", ("121071", "DCM", "Finding"), TextValue="Nodule.")
    report = read_sr(_bytes(_sr([plain, claimed])))
    assert (report.text, report.sections.other) == ("Nodule.", "Clear lungs.")


def test_a_final_report_is_told_from_a_draft() -> None:
    assert read_sr(_bytes(_sr(_english(), VerificationFlag="VERIFIED"))).final


def test_a_report_never_prints_itself() -> None:
    shown = repr(read_sr(_bytes(_sr(_english()))))
    assert not any(word in shown for word in ("Curie", "Patchy", "ACC77123", "Doe", "4711"))


def _reason(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read_sr(data)
    assert caught.value.reason in REASONS
    assert not any(word in str(caught.value) for word in ("Curie", "Patchy", "Doe"))
    return caught.value.reason


def test_what_is_no_report_gives_a_reason() -> None:
    assert _reason(b"") == "empty"
    picture = _bytes(_sr(_english(), sop_class="1.2.840.10008.5.1.4.1.1.1.1"))
    assert not is_sr(picture)
    assert _reason(picture) == "no-text"
    without = _sr(_english())
    del without.ContentSequence
    assert _reason(_bytes(without)) == "broken-header"
    assert (
        _reason(_bytes(_sr([_item("TEXT", ("121060", "DCM", "History"), TextValue="Cough.")]))) == "no-text"
    )


def test_a_class_named_elsewhere_is_no_report() -> None:
    picture = _sr([], sop_class="1.2.840.10008.5.1.4.1.1.1.1")
    other = Dataset()
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = BASIC, "1.2"
    picture.ReferencedStudySequence = [other]
    assert not is_sr(_bytes(picture))
    assert not is_sr(b"")


def test_a_tree_without_end_is_refused() -> None:
    item = _item("TEXT", TextValue="Clear.")
    for _ in range(MAX_DEPTH + 1):
        item = _item("CONTAINER", ("121070", "DCM", "Findings"), children=[item])
    assert _reason(_bytes(_sr([item]))) == "implausible-header"
    many = [_item("TEXT", TextValue="x" * 60_000) for _ in range(20)]
    assert _reason(_bytes(_sr(many))) == "implausible-header"


def test_a_broken_file_gives_a_report_or_a_reason() -> None:
    data = _bytes(_sr(_english()))
    rng = random.Random(0)
    broken = [data[: len(data) * i // 50] for i in range(1, 50)]
    for _ in range(150):
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            flipped[rng.randrange(132, len(data))] = rng.randrange(256)
        broken.append(bytes(flipped))
    answers = set()
    for case in broken:
        try:
            answers.add(bool(read_sr(case).text))
        except Refused as refused:
            answers.add(refused.reason)
    assert True in answers
    assert answers - {True} <= set(REASONS)
