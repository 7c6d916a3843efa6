from __future__ import annotations

import html
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk.tasks import findings
from xraytk.tasks.scoring import labels, marked, pages, plots, reports


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def both(reference: str, generated: str, lang: str) -> tuple[str, str]:
    truth, said = findings.label(reference, lang), findings.label(generated, lang)
    return marked.reference(reference, truth, said), marked.generated(generated, said, truth)


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
    for text, shown in zip((reference, generated), both(reference, generated, lang), strict=True):
        assert text_of(shown) == text
        assert "<b>" not in shown


def marks(shown: str) -> list[tuple[str, str]]:
    return re.findall(r'<mark class="([^"]*)"[^>]*>([^<]*)</mark>', shown)


@pytest.mark.parametrize(
    ("lang", "reference", "generated", "wanted"),
    [
        (
            "en",
            "Cardiomegaly. Left effusion. No pneumothorax.",
            "Possible cardiomegaly. Pneumothorax.",
            [
                [
                    ("right present", "Cardiomegaly"),
                    ("missed present", "effusion"),
                    ("missed absent", "pneumothorax"),
                ],
                [("right uncertain", "cardiomegaly"), ("made present", "Pneumothorax")],
            ],
        ),
        (
            "zh",
            "左侧胸腔积液。未见气胸。",
            "右侧胸腔积液。未见气胸。考虑肺水肿。",
            [
                [("side present", "胸腔积液"), ("right absent", "气胸")],
                [("side present", "胸腔积液"), ("right absent", "气胸"), ("made uncertain", "肺水肿")],
            ],
        ),
    ],
)
def test_findings_are_coloured_in_both_texts_by_what_the_other_says(
    lang: str, reference: str, generated: str, wanted: list[list[tuple[str, str]]]
) -> None:
    assert [marks(shown) for shown in both(reference, generated, lang)] == wanted


def test_a_finding_on_both_sides_is_the_same_in_one_word_or_two() -> None:
    apart, together = both("Left effusion. Right effusion.", "Bilateral effusions.", "en")
    assert {kind for kind, _ in marks(apart) + marks(together)} == {"right present"}


def test_marks_do_not_let_a_text_out_of_its_element() -> None:
    text = 'Left effusion"><script>alert(1)</script> & <i>edema</i>.'
    for shown in both(text, text, "en"):
        assert "<script" not in shown
        assert "<i>" not in shown
        assert ("right present", "edema") in marks(shown)


def test_the_legend_names_every_kind_and_each_kind_has_its_own_line() -> None:
    shown = marked.legend()
    for kind in ("right", "side", "missed", "made"):
        assert f'class="{kind} present"' in shown
    lines = re.findall(r"mark\.(?:right|side|missed|made) \{ text-decoration-style: (\w+)", marked.STYLE)
    assert sorted(lines) == ["dotted", "double", "solid", "wavy"]


def test_without_a_reference_nothing_is_called_made_up() -> None:
    case = pages.cases_of({"generated": pairs(["Edema."], [""])}, "en")[0]
    shown = pages.sides(case)
    assert marks(shown) == [("said present", "Edema")]
    assert "invented" not in shown


def test_findings_are_right_missed_or_made() -> None:
    found = marked.findings(
        {"Edema": 1, "Mass": -1, "Fracture": 0, "Pneumonia": None},
        {"Edema": -1, "Fracture": 1, "Pneumonia": 0},
    )
    assert [(f.name, f.kind) for f in found] == [("Edema", "right"), ("Mass", "missed"), ("Fracture", "made")]
    assert "missed: Mass" in marked.chips(found)


def test_a_text_without_end_is_cut_on_the_page_and_scored_whole() -> None:
    text = "Left effusion. No edema. " * 8000 + "Pneumothorax."
    case = pages.cases_of({"generated": pairs([text], ["Pneumothorax."])}, "en")[0]
    shown = text_of(pages.sides(case))
    assert "... [200,013 characters in all]" in shown
    assert len(shown) < 2 * pages.LONGEST
    assert case.labels["generated"].findings["Pneumothorax"] == 1
    assert "✓ Pneumothorax" in shown


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
