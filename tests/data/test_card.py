from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xraytk.data import card, card_people, counts, looks, manifest, page, pictures
from xraytk.data.storage import Storage
from xraytk.errors import DataError, UsageError

VOID = {"img", "meta", "br", "rect", "line", "path", "polygon", "polyline"}


class Reader(HTMLParser):
    """Checks that elements nest, and collects texts and what is loaded."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.append(tag)
        assert not any(name.startswith("on") for name in found)
        if "id" in found:
            self.ids.add(found["id"] or "")
        if tag == "a":
            self.links.append(found["href"] or "")
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert not reader.open
    return reader


def section(path: Path, title: str) -> str:
    """The words of one section, one space between them."""
    name = title.lower().replace(" ", "-")
    found = re.search(rf'<section id="{name}">(.*?)</section>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    reader = Reader()
    reader.feed(found[1])
    return " ".join(" ".join(reader.text).split())


def row(i: int, **more: Any) -> dict[str, Any]:
    name = f"{i:016x}"
    return {
        "image_id": name,
        "patient_hash": f"p{i // 2}",
        "study_hash": f"s{i}",
        "split": ("train", "val", "test")[i // 2 % 3],
        "path": f"images/00/{name}.png",
        **dict.fromkeys(("width", "height"), 40),
        "source_width": 900,
        "source_height": 300 * (1 + i % 5),
        "bits_stored": 12,
        "modality": "DX",
        "view": ("PA", "LATERAL")[i % 2],
        "syntax": "1.2.840.10008.1.2.4.70",
        "photometric": "MONOCHROME2",
        "voi": "linear",
        "sex": "F" if i < 16 else "M",
        "age_years": 31.5,
        "manufacturer": "GE",
        "burned_in": False,
        **more,
    }


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    manifest.write_table(folder / "manifest/part-00000.parquet", manifest.MANIFEST, rows)
    for i, found in enumerate(rows):
        image = np.full((40, 40), 2000 * i, np.uint16)
        image[:20] += 1000
        pictures.write_png(folder / found["path"], image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 images of 12 patients: 8 female, 4 male."""
    write(tmp_path, [row(i, spacing_x_mm=0.1 if i < 3 else None) for i in range(24)])
    ids = [f"{i:016x}" for i in range(24)]
    reports = [{"image_id": ids[0], "en": "Clear  lungs\n today.", "zh": "未见异常"}]
    reports += [{"image_id": ids[1], "en": " "}, {"image_id": ids[2], "en": "One two"}]
    manifest.write_table(tmp_path / "reports.parquet", manifest.REPORTS, reports)
    labels = [{"image_id": ids[i], "label": "Nodule", "value": float(i < 5)} for i in range(20)]
    labels += [{"image_id": ids[20], "label": "Nodule", "value": None}]
    labels += [{"image_id": "elsewhere", "label": "Nodule", "value": 1.0}]
    labels += [{"image_id": ids[3], "label": "<script>alert('x')</script>", "value": 1.0}]
    manifest.write_table(tmp_path / "labels.parquet", manifest.LABELS, labels)
    no = [{"source_hash": f"{i:04x}", "reason": "not-chest", "detail": "HAND"} for i in range(15)]
    no += [{"source_hash": "ab", "reason": "burned-in"}, {"source_hash": "ac", "reason": "oddity"}]
    no += [{"source_hash": "ad", "reason": "duplicate", "detail": ids[0]}]
    manifest.write_table(tmp_path / "rejected.parquet", manifest.REJECTED, no)
    for name in [*(f"{i:04x}" for i in range(15)), "ab"]:
        pictures.write_png(tmp_path / f"rejected/{name}.png", np.full((30, 20), 99, np.uint8))
    return tmp_path


def test_counts_are_those_of_the_tables(folder: Path) -> None:
    found = counts.summarise(folder, {"reports": {"matched": 3, "unmatched": 1}})
    assert (found["images"], found["patients"], found["studies"], found["rejected"]) == (24, 12, 24, 18)
    assert found["reasons"] == {"not-chest": 15, "burned-in": 1, "duplicate": 1, "oddity": 1}
    assert found["splits"] == {"train": 8, "val": 8, "test": 8}
    assert found["patients_by"]["split"] == {"train": 4, "val": 4, "test": 4}
    assert found["patients_in_two_splits"] == 0
    assert found["view"] == {"LATERAL": 12, "PA": 12}
    assert found["bits_stored"] == {"12": 24}
    assert found["sex"] == {"F": 16, "M": 8}
    assert found["patients_by"]["sex"] == {"F": 8, "M": 4}
    assert found["patients_by"]["age_and_sex"] == {"F": {"30-34": 8}, "M": {"30-34": 4}}
    assert (found["with_spacing"], found["burned_in"], found["view_source"]) == (3, 0, {"": 24})
    assert found["source_long_side_px"] == {"750": 15, "1000": 5, "1500": 4}
    assert found["images_per_patient"] == {"2": 12}
    reports = found["reports"]
    assert (reports["matched"], reports["unmatched"]) == (3, 1)
    assert (reports["images_en"], reports["images_zh"], reports["rows"]) == (2, 1, 3)
    assert reports["length"]["en"]["counts"] == {"0": 0, "1": 0, "2": 1, "3": 1}
    assert reports["length"]["zh"]["unit"] == "characters"
    assert reports["length"]["zh"]["median"] == 4
    labels = found["labels"]
    assert labels["positive"] == {"<script>alert('x')</script>": 1, "Nodule": 6}
    assert labels["negative"] == {"Nodule": 15}
    assert labels["uncertain"] == {"Nodule": 1}
    assert labels["by_split"]["train"]["positive"] == {"Nodule": 2}  # images 0 and 1
    assert labels["by_split"]["(no image)"]["positive"] == {"Nodule": 1}
    assert found["boxes"] is None
    json.dumps(found)


def test_what_no_table_says_is_taken_from_the_earlier_summary(folder: Path) -> None:
    (folder / "summary.json").write_text('{"reports": {"identifiers_scrubbed": 7}}')
    found = counts.summarise(folder)
    assert found["reports"]["identifiers_scrubbed"] == 7


def test_the_page_is_whole_and_loads_nothing(folder: Path) -> None:
    result = card.write_card(folder, command="xraytk ingest <b>", made_at="2024-05-06")
    found = read(result.path)
    assert result.size_bytes == result.path.stat().st_size
    assert result.pictures == len(found.images) == 24 + 18 + 12
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in found.images)
    assert all(image["alt"] for image in found.images)
    assert {link.removeprefix("#") for link in found.links} == found.ids
    text = result.path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<link|<script", text)
    assert "default-src 'none'" in page.html.unescape(text)
    assert "xraytk ingest <b>" in found.text
    assert "<script>alert('x')</script>" in found.text
    assert "script" not in found.names


def test_the_page_shows_the_counts(folder: Path) -> None:
    path = card.write_card(folder, reasons={"oddity": "an odd file"}).path
    assert "24 images 12 patients 24 studies 3 images with a report 18 files rejected" in section(
        path, "At a glance"
    )
    assert "no patient is in two splits" in section(path, "At a glance")
    origin = section(path, "Where the images come from")
    assert "JPEG Lossless, Non-Hierarchical" in origin
    assert "1.2.840.10008.1.2.4.70 24 100.0 %" in origin
    assert "known 3 12.5 % not known 21 87.5 %" in origin
    assert "Where the view is known from" in origin
    assert "Nodule 6 15 1 2 28.6 %" in section(path, "Labels")
    assert section(path, "Boxes") == "Boxes Not recorded."
    said = section(path, "Rejected files")
    assert "not-chest the header says, or the pixels show, that this is no chest radiograph 15" in said
    assert "HAND (15)" in said
    assert "oddity an odd file 1" in said
    assert "not-chest: 12 of 15" in said
    assert "burned-in Not shown" in said
    assert f"{0:016x}" not in said  # the detail of a duplicate is an id


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    first = card.write_card(folder).path.read_bytes()
    assert card.write_card(folder).path.read_bytes() == first


def test_a_patient_in_two_splits_is_said(tmp_path: Path) -> None:
    write(tmp_path, [row(0, split="train"), row(1, split="val")])
    assert counts.summarise(tmp_path)["patients_in_two_splits"] == 1
    assert "Leak: 1 times" in section(card.write_card(tmp_path).path, "At a glance")


def test_small_groups_are_hidden_and_cannot_be_had_by_subtraction(folder: Path) -> None:
    assert card_people.hidden({"a": 9, "b": 4, "c": 7}) == {"b": "<5", "c": "5 or more"}
    assert card_people.hidden({"a": 9, "b": 4, "c": 1, "d": 0}) == {"b": "<5", "c": "<5"}
    assert card_people.hidden({"a": 9, "b": 5}) == {}
    assert card_people.hidden({"a": 3}) == {"a": "<5"}
    said = section(card.write_card(folder).path, "Patients")
    assert "female 5 or more hidden male <5 hidden" in said
    assert "30-34 12" in said  # one group for both sexes, or 8 of 12 would give the 4 away
    assert "female 8 16" in section(card.write_card(folder, fewest=2).path, "Patients")
    with pytest.raises(UsageError):
        card.write_card(folder, fewest=0)


def test_ages_from_90_are_one_group_and_impossible_ones_unknown(tmp_path: Path) -> None:
    ages = [0.0, 4.99, 5.0, 89.9, 90.0, 104.0, None, float("nan"), -3.0, 200.0]
    write(tmp_path, [row(i, age_years=age, patient_hash=f"q{i}", sex="") for i, age in enumerate(ages)])
    found = counts.summarise(tmp_path)["patients_by"]["age_and_sex"]
    assert found == {"": {"0-4": 2, "5-9": 1, "85-89": 1, "90+": 2, "": 4}}
    said = section(card.write_card(tmp_path).path, "Patients")
    assert "104" not in said
    assert "90+ <5" in said


def test_images_with_burned_in_text_are_never_shown(tmp_path: Path) -> None:
    write(tmp_path, [row(i, burned_in=i == 1) for i in range(4)])
    path = card.write_card(tmp_path).path
    assert f"{1:016x}" not in path.read_text(encoding="utf-8")
    assert "1 images with burned-in text are never shown" in section(path, "Contact sheet")


def test_an_empty_folder_has_a_card(tmp_path: Path) -> None:
    path = card.write_card(tmp_path).path
    read(path)
    assert "no file gave an image" in section(path, "At a glance")
    assert section(path, "Reports") == "Reports Not recorded."
    assert section(path, "Rejected files") == "Rejected files Not recorded."
    assert counts.summarise(tmp_path)["modality"] == {}


def test_missing_columns_and_pictures_are_no_fault(tmp_path: Path) -> None:
    rows = [{name: row(i)[name] for name in ("image_id", "patient_hash", "split", "path")} for i in range(3)]
    schema = manifest.pa.schema(
        [manifest.MANIFEST.field(name) for name in rows[0]], metadata=manifest.MANIFEST.metadata
    )
    manifest.write_table(tmp_path / "manifest/part-00000.parquet", schema, rows)
    result = card.write_card(tmp_path)
    assert (result.images, result.pictures, result.unreadable) == (3, 0, 3)
    assert "Manufacturer Not recorded." in section(result.path, "Where the images come from")
    assert "Age Not recorded." in section(result.path, "Patients")


def test_copies_views_and_texts_are_counted(tmp_path: Path) -> None:
    table = manifest.pa.Table.from_pylist(
        [row(i, duplicate_of=None if i else "a") for i in range(4)], schema=manifest.MANIFEST
    )
    for name, values in (
        ("view_source", ["header", "pixels", "pixels", None]),
        ("near_duplicate_of", [None, "", "a", "b"]),
        ("text_boxes", [0, 2, None, 0]),
    ):
        at, kind = table.schema.get_field_index(name), table.schema.field(name).type
        table = table.set_column(at, name, manifest.pa.array(values, kind))
    manifest.write_whole(tmp_path / "manifest/part-00000.parquet", table)
    found = counts.summarise(tmp_path)
    assert found["view_source"] == {"pixels": 2, "": 1, "header": 1}
    assert (found["same_pixels"], found["near_duplicates"], found["text_blanked"]) == (1, 2, 1)


def test_a_broken_table_is_an_error_that_says_what_to_do(folder: Path) -> None:
    (folder / "labels.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="not a whole table"):
        card.write_card(folder)


def test_the_sheet_is_even_among_views_and_the_sample_over_the_manifest(tmp_path: Path) -> None:
    assert looks.evenly(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert looks.evenly(np.arange(3), 5).tolist() == [0, 1, 2]
    codes = counts.Codes(["PA", "AP", "LATERAL"], np.array([0] * 90 + [1] * 60 + [2] * 3))
    shown = looks._by_view(codes, np.arange(153))
    assert np.bincount(codes.codes[shown]).tolist() == [22, 23, 3]
    assert len(set(shown.tolist())) == looks.SHOWN


def test_outliers_are_the_darkest_the_brightest_and_the_flattest(tmp_path: Path) -> None:
    write(tmp_path, [row(i) for i in range(8)])
    pictures.write_png(tmp_path / row(5)["path"], np.full((40, 40), 30000, np.uint16))
    found = looks.look_at(tmp_path, Storage(str(tmp_path))).extremes()
    assert found["Darkest"][0].name == f"{0:016x}"
    assert found["Brightest"][0].name == f"{5:016x}"
    assert found["Least contrast"][0].name == f"{5:016x}"
    assert found["Least contrast"][0].spread == 0.0


def test_everything_is_escaped_unless_it_is_html_already() -> None:
    assert page.tag("p", "<b>", page.tag("i", '"&'), title='"') == (
        '<p title="&quot;">&lt;b&gt;<i>&quot;&amp;</i></p>'
    )
    assert page.as_html("a\x00b\u202ec\ud800") == "a\ufffdb\ufffdc?"
