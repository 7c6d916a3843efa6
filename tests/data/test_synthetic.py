from __future__ import annotations

import csv
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from xraytk.data.dicom import read_radiograph
from xraytk.data.synthetic import LABELS, Phantom, make_phantom, write_archive
from xraytk.errors import UsageError

PX = 256


def pair(name: str, seed: int) -> tuple[Phantom, Phantom]:
    """The same patient without and with a finding."""
    return make_phantom(seed, size_px=PX, findings=()), make_phantom(seed, size_px=PX, findings=(name,))


def near(phantom: Phantom, radius: float = 0.02) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Pixels around the middle of the first finding."""
    x, y = phantom.findings[0].center
    height, width = phantom.pixels.shape
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - y * height, columns - x * width) < radius * height


def contrast(phantom: Phantom, there: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> float:
    """How much brighter a place is than the darker half of the lungs."""
    lungs = phantom.pixels[phantom.right_lung | phantom.left_lung]
    return float(phantom.pixels[there].mean() - np.percentile(lungs, 25))


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_phantom_is_a_grey_image_with_masks_of_its_shape() -> None:
    phantom = make_phantom(3, size_px=PX)
    assert phantom.pixels.dtype == np.float32
    assert max(phantom.pixels.shape) == PX
    assert 0 <= phantom.pixels.min() < 0.05
    assert 0.9 < phantom.pixels.max() <= 1
    for mask in (phantom.left_lung, phantom.right_lung, phantom.heart):
        assert (mask.shape, mask.dtype) == (phantom.pixels.shape, np.bool_)


def test_the_same_seed_gives_the_same_phantom_and_another_seed_another() -> None:
    one, two, other = (make_phantom(s, size_px=PX) for s in (5, 5, 6))
    assert (one.pixels == two.pixels).all()
    assert (one.reports, one.findings) == (two.reports, two.findings)
    assert one.pixels.shape != other.pixels.shape or not (one.pixels == other.pixels).all()


def test_the_patient_s_right_is_on_the_image_s_left() -> None:
    phantom = make_phantom(1, size_px=PX, findings=())
    columns = [
        np.flatnonzero(m.any(axis=0)).mean() for m in (phantom.right_lung, phantom.heart, phantom.left_lung)
    ]
    assert columns == sorted(columns)


@pytest.mark.parametrize("seed", range(4))
def test_lungs_are_darker_than_heart_and_the_masks_do_not_overlap(seed: int) -> None:
    phantom = make_phantom(seed, size_px=PX, findings=())
    right, left, heart = phantom.right_lung, phantom.left_lung, phantom.heart
    assert not (right & left).any()
    assert not ((right | left) & heart).any()
    assert phantom.pixels[right].mean() + 0.15 < phantom.pixels[heart].mean()
    assert phantom.pixels[left].mean() + 0.15 < phantom.pixels[heart].mean()
    assert 0.15 < (right | left).mean() < 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["Consolidation", "Nodule", "Pleural Effusion"])
def test_these_findings_make_their_place_brighter_than_the_other_side(name: str, seed: int) -> None:
    without, phantom = pair(name, seed)
    there = near(phantom)
    assert contrast(phantom, there) > contrast(without, there) + 0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_pneumothorax_makes_its_side_darker(seed: int) -> None:
    _, phantom = pair("Pneumothorax", seed)
    ours, other = phantom.right_lung, phantom.left_lung
    if phantom.findings[0].side == "left":
        ours, other = other, ours
    assert np.percentile(phantom.pixels[ours], 10) < np.percentile(phantom.pixels[other], 10)
    assert 0.05 < phantom.findings[0].ratio < 0.95


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_finding_lies_in_the_lung_of_its_side(side: str) -> None:
    made = (make_phantom(s, size_px=PX, findings=("Nodule",)) for s in range(20))
    phantom = next(p for p in made if p.findings[0].side == side)
    lung = phantom.right_lung if side == "right" else phantom.left_lung
    assert lung[near(phantom, 0.01)].all()


def test_the_cardiothoracic_ratio_is_that_of_the_masks_and_decides_the_label() -> None:
    for seed in range(6):
        large = make_phantom(seed, size_px=PX, findings=("Cardiomegaly",))
        normal = make_phantom(seed, size_px=PX, findings=())
        lungs = large.left_lung | large.right_lung
        heart, thorax = (np.ptp(np.flatnonzero(m.any(axis=0))) + 1 for m in (large.heart, lungs))
        assert large.heart_ratio == pytest.approx(heart / thorax, abs=0.02)
        assert large.heart_ratio > 0.53
        assert normal.heart_ratio < 0.52
        assert f"{large.findings[0].ratio:.2f}" in large.reports["en"]
        assert f"{large.findings[0].ratio:.2f}" in large.reports["zh"]


def test_labels_and_reports_state_what_is_there_and_what_is_not() -> None:
    words = {
        "Cardiomegaly": ("Cardiomegaly", "心影增大"),
        "Consolidation": ("consolidation", "炎症"),
        "Nodule": ("nodule", "结节"),
        "Pleural Effusion": ("pleural effusion", "积液"),
        "Pneumothorax": ("pneumothorax", "气胸"),
    }
    for seed in range(40):
        phantom = make_phantom(seed, size_px=96)
        names = {f.name for f in phantom.findings}
        assert phantom.labels == {n: int(n in names or (n == "No Finding" and not names)) for n in LABELS}
        conclusion_en = phantom.reports["en"].split("Impression: ")[1]
        conclusion_zh = phantom.reports["zh"].split("影像诊断：")[1]
        for name, (en, zh) in words.items():
            assert (en in conclusion_en) == (name in names)
            assert (zh in conclusion_zh) == (name in names)
        for f in phantom.findings:
            if f.side:
                assert f.side in phantom.reports["en"].lower()
                assert {"right": "右", "left": "左"}[f.side] in conclusion_zh
            if f.name == "Nodule":
                assert f"{f.size_mm:.0f} mm" in phantom.reports["en"]
                assert f"{f.size_mm:.0f}mm" in phantom.reports["zh"]


def test_three_findings_can_be_asked_for_in_any_order() -> None:
    wanted = ("Nodule", "Cardiomegaly", "Pleural Effusion")
    assert {f.name for f in make_phantom(2, size_px=96, findings=wanted).findings} == set(wanted)
    assert make_phantom(2, size_px=96, findings=("No Finding",)).findings == ()


def test_there_is_room_for_every_three_findings() -> None:
    for names in itertools.combinations(LABELS[:5], 3):
        for seed in range(3):
            phantom = make_phantom(seed, size_px=64, findings=names)
            assert {f.name for f in phantom.findings} == set(names)
            places = [(f.side, f.zone) for f in phantom.findings]
            assert len(set(places)) == 3


@pytest.mark.parametrize("names", [("Fracture",), LABELS[:4]])
def test_unknown_or_too_many_findings_are_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        make_phantom(0, size_px=96, findings=names)


def test_an_archive_is_a_tree_of_readable_files_with_reports_and_labels(tmp_path: Path) -> None:
    result = write_archive(tmp_path, patients=8, seed=4, size_px=96)
    files = [p for p in result.folder.rglob("*") if p.is_file()]
    assert len(files) == result.images >= result.patients == 8
    images = [read_radiograph(p.read_bytes()) for p in files]
    assert {i.bits_stored for i in images} == {12}
    assert {i.photometric for i in images} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({i.syntax for i in images}) >= 5
    assert {i.voi for i in images} == {"linear"}
    assert len({i.identity.patient_id for i in images}) == 8
    with result.reports.open(encoding="utf-8") as stream:
        reports = {r["StudyInstanceUID"]: r for r in csv.DictReader(stream)}
    with result.labels.open(encoding="utf-8") as stream:
        labels = {r["StudyInstanceUID"]: r for r in csv.DictReader(stream)}
    for image in images:
        row = reports[image.identity.study_uid]
        assert row["AccessionNumber"] == image.identity.accession
        assert row["en"].startswith("Findings: ")
        assert row["zh"].startswith("影像所见：")
        assert {labels[image.identity.study_uid][label] for label in LABELS} <= {"0", "1"}


def test_wrapped_in_dicom_a_phantom_comes_back_in_its_own_greys(tmp_path: Path) -> None:
    result = write_archive(tmp_path, patients=6, seed=1, size_px=96)
    for path in result.folder.rglob("IM*"):
        image = read_radiograph(path.read_bytes())
        middle = image.pixels[int(0.9 * image.pixels.shape[0]), image.pixels.shape[1] // 2]
        assert middle > 0.6 * 65535  # the abdomen is bright in either sense of the grey scale


def test_the_same_seed_gives_the_same_bytes_with_one_process_or_two(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", patients=4, seed=9, size_px=96)
    write_archive(tmp_path / "b", patients=4, seed=9, size_px=96, workers=2)
    write_archive(tmp_path / "c", patients=4, seed=10, size_px=96)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != tree(tmp_path / "c")


def test_fluid_and_clear_lungs_do_not_stand_in_one_report() -> None:
    for seed in range(40):
        phantom = make_phantom(seed, size_px=64, findings=["Pleural Effusion"])
        zh, en = phantom.reports["zh"], phantom.reports["en"]
        assert "双肺" not in zh.split("影像诊断")[0].replace("双肺门", "")
        wet = phantom.findings[0]
        if wet.degree != "small":
            assert f"The {wet.side} heart border is obscured." in en
            assert {"left": "左", "right": "右"}[wet.side] + "心缘显示不清" in zh


def test_the_degree_of_a_pneumothorax_is_that_of_its_share() -> None:
    for seed in range(12):
        air = make_phantom(seed, size_px=96, findings=["Pneumothorax"]).findings[0]
        low, high = {"small": (0, 0.2), "moderate": (0.2, 0.5), "large": (0.5, 1)}[air.degree]
        assert low <= air.ratio <= high
