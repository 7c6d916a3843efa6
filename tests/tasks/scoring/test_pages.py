from __future__ import annotations

import html
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk.tasks.scoring import labels, marked, pages, plots, reports


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


@pytest.mark.parametrize(
    ("reference", "generated", "lang"),
    [
        ("The heart is normal.  No effusion!", "the heart is BIG. <b>No</b> effusion", "en"),
        ("左侧胸腔积液，未见气胸。", "右侧胸腔积液。", "zh"),
        ("", "Anything.", "en"),
        ("Nothing.", "", "en"),
    ],
)
def test_marking_keeps_every_character(reference: str, generated: str, lang: str) -> None:
    for text, shown in zip((reference, generated), marked.words(reference, generated, lang), strict=True):
        assert text_of(shown) == text
        assert "<b>" not in shown


def test_words_in_both_are_marked_as_the_same() -> None:
    reference, generated = marked.words("The heart is normal.", "Heart normal now.", "en")
    assert re.findall(r'class="same">([^<]*)<', generated) == ["Heart normal", "."]
    assert re.findall(r'class="other">([^<]*)<', generated) == ["now"]
    assert re.findall(r'class="other">([^<]*)<', reference) == ["The", "is"]


def test_findings_are_right_missed_or_made() -> None:
    found = marked.findings(
        {"Edema": 1, "Mass": -1, "Fracture": 0, "Pneumonia": None},
        {"Edema": -1, "Fracture": 1, "Pneumonia": 0},
    )
    assert [(f.name, f.kind) for f in found] == [("Edema", "right"), ("Mass", "missed"), ("Fracture", "made")]
    assert "missed: Mass" in marked.chips(found)


def pairs(hyps: list[str], refs: list[str]) -> reports.Pairs:
    ids = tuple(f"i{n}" for n in range(len(refs)))
    return reports.Pairs(ids, ids, tuple(hyps), tuple(refs))


def test_the_worst_case_comes_first_with_its_picture(tmp_path: Path) -> None:
    refs = ["The heart is normal.", "No effusion.", "Clear lungs."]
    cv2.imwrite(str(tmp_path / "i1.png"), np.full((40, 30), 90, np.uint8))
    found = pages.gallery(
        {"generated": pairs([refs[0], "", refs[2]], refs)}, "en", pages.pictures_of(tmp_path)
    )
    assert re.findall(r"<h3>(i\d)</h3>", found)[0] == "i1"
    assert "(empty)" in found
    assert found.count("data:image/png;base64,") == 1
    assert pages.pictures_of(tmp_path)("../i1") is None


def test_the_page_of_labels_needs_no_other_file() -> None:
    rng = np.random.default_rng(0)
    truth = np.column_stack([rng.integers(0, 2, 30), np.zeros(30), np.full(30, np.nan)]).astype(float)
    ids = tuple(f"i{n}" for n in range(30))
    facts = {"sex": ("F", "M", "") * 10}
    test = labels.LabelSet(ids, ids, ("Edema", "<Mass>", "气胸"), rng.random((30, 3)), truth, facts)
    options = labels.LabelOptions(resamples=10)
    fitted = labels.fit(None, test)
    scored = labels.score(test, options, fitted)
    figures = plots.of_labels(test, fitted, scored.tables["labels"])
    assert set(figures) == {"roc", "pr", "reliability", "confusion", "auroc"}
    assert figures == plots.of_labels(test, fitted, scored.tables["labels"])  # the same bytes
    page = pages.of_scores("A & B", scored, figures)
    assert page.count("data:image/png;base64,") == 5
    assert "A &amp; B" in page
    assert "<Mass>" not in page
    assert "every known value in this split is 0" in page
    assert "best minus worst" in page
    assert scored.protocol["fingerprint"] in page
    assert not re.search(r"https?:", page)
