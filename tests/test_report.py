from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk import report
from xraytk.data.dicom_write import write_dx
from xraytk.errors import DataError, UsageError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A square in the top right quarter, as a PNG whose name is a person's."""
    image = np.zeros((256, 256), np.uint8)
    image[24:104, 152:232] = 250
    path = tmp_path / "Doe^Jane.png"
    cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(("lang", "wanted"), [("en", "Left nodule."), ("zh", "左肺结节。")])
def test_the_users_run_writes_the_report_in_the_language_asked_for(
    finetuned: Path, picture: Path, tmp_path: Path, lang: str, wanted: str
) -> None:
    made = report.run(report.ReportConfig(image=picture, lang=lang, work=finetuned, out=tmp_path / "out"))
    assert made.text == wanted
    assert made.image_id == hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
    assert made.findings["Top"] > 0.5 > made.findings["Left"]
    assert made.model.startswith("your run report, step ")
    assert "phantom" not in made.notice
    assert "体模" not in made.notice
    text, tree = made.files
    assert wanted in text.read_text(encoding="utf-8")
    assert made.notice in text.read_text(encoding="utf-8")
    assert json.loads(tree.read_text(encoding="utf-8"))["text"] == wanted
    assert "Jane" not in text.read_text(encoding="utf-8") + tree.read_text(encoding="utf-8") + str(made)


@pytest.mark.parametrize(("lang", "words"), [("en", "nodule"), ("zh", "结节")])
def test_attention_is_a_picture_beside_the_text_and_the_terms_are_named(
    finetuned: Path, picture: Path, tmp_path: Path, lang: str, words: str
) -> None:
    config = report.ReportConfig(image=picture, lang=lang, work=finetuned, out=tmp_path, attention=True)
    made = report.run(config)
    assert [(term.words, term.findings, term.state) for term in made.terms] == [
        (words, ("Lung Lesion",), "present")
    ]
    drawn = cv2.imread(str(made.files[2]))
    assert made.files[2].name == f"{made.image_id}.{lang}.attention.png"
    assert drawn.shape == (378, 720, 3)  # the image and one map, with captions
    left, right = drawn[4:356, 4:356].astype(int), drawn[4:356, 364:716].astype(int)
    assert np.ptp(left, axis=2).max() == 0
    assert np.ptp(right, axis=2).max() > 50
    assert json.loads(made.files[1].read_text(encoding="utf-8"))["terms"][0]["words"] == words
    assert any(words in line for line in made.lines())


def test_attention_without_a_place_for_the_picture_is_refused(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no place for the picture"):
        report.run(report.ReportConfig(image=picture, work=tmp_path / "none", attention=True))


def test_the_default_model_writes_both_languages_and_says_what_it_is(picture: Path, tmp_path: Path) -> None:
    for lang, word in (("en", "phantoms only"), ("zh", "体模")):
        made = report.run(report.ReportConfig(image=picture, lang=lang, work=tmp_path / "none"))
        assert made.text
        assert made.model == "default model trained on phantoms"
        assert word in made.notice
        assert made.findings == {}
        assert made.files == ()
        assert made.notice in made.lines()


def test_the_default_model_is_small_and_documented() -> None:
    folder = report.default_model()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Apache-2.0" in card
    assert "phantom" in card


def test_what_is_no_radiograph_is_refused_without_its_name(finetuned: Path, tmp_path: Path) -> None:
    bad = {"Doe^Jane.txt": b"Jane Doe was here, and here is more of the text", "Doe^Empty.dcm": b""}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            report.run(report.ReportConfig(image=tmp_path / name, work=finetuned))
        assert "Doe" not in str(caught.value)
        assert "Jane" not in str(caught.value)
    for missing in (tmp_path / "Doe^Nobody.dcm", tmp_path):
        with pytest.raises(DataError, match="the image"):
            report.run(report.ReportConfig(image=missing, work=finetuned))


@pytest.mark.parametrize("view", ["PA", "LATERAL"])
def test_only_a_frontal_view_gets_a_report(finetuned: Path, tmp_path: Path, view: str) -> None:
    path = tmp_path / "Doe^Jane.dcm"
    pixels = np.random.default_rng(0).integers(0, 4096, (128, 128)).astype(np.uint16)
    write_dx(path, pixels, view=view, patient_name="Doe^Jane")
    config = report.ReportConfig(image=path, lang="zh", work=finetuned, out=tmp_path / "out")
    if view == "PA":
        made = report.run(config)
        assert (made.view, made.burned_in) == ("PA", False)
        assert "体位未知" not in made.notice
        return
    with pytest.raises(DataError, match="not a frontal view") as caught:
        report.run(config)
    assert caught.value.exit_code == 3
    assert "LATERAL" in str(caught.value)
    assert "Doe" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("lang", "words"), [("en", "view is unknown"), ("zh", "体位未知")])
def test_a_picture_without_a_header_is_said_to_be_unknown(
    finetuned: Path, picture: Path, tmp_path: Path, lang: str, words: str
) -> None:
    made = report.run(report.ReportConfig(image=picture, lang=lang, work=finetuned, out=tmp_path / "out"))
    assert words in made.notice
    tree = json.loads(made.files[1].read_text(encoding="utf-8"))
    assert (tree["view"], tree["burned_in"]) == ("UNKNOWN", False)


def test_a_run_without_a_finetuned_model_is_named_so(finetuned: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "pretrain").mkdir()
    with pytest.raises(DataError, match="pretrain holds no finetuned model"):
        report.run(report.ReportConfig(image=picture, work=finetuned, checkpoint=tmp_path / "pretrain"))


def test_a_run_of_another_task_is_refused(finetuned: Path, picture: Path) -> None:
    run = finetuned / "runs" / "classify"
    with pytest.raises(DataError, match="another task"):
        report.run(report.ReportConfig(image=picture, work=finetuned, checkpoint=run))


def test_a_model_whose_weights_do_not_fit_is_refused(finetuned: Path, picture: Path, tmp_path: Path) -> None:
    best = finetuned / "runs" / "report" / "best"
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes((best / name).read_bytes())
    tree = json.loads((tmp_path / "config.json").read_text())
    tree["model"]["encoder"]["depth"] = 3
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="missing"):
        report.run(report.ReportConfig(image=picture, work=finetuned, checkpoint=tmp_path))
