from __future__ import annotations

from pathlib import Path

import numpy as np

from xraytk.tasks import attention, findings, gallery
from xraytk.tasks.scoring import pages


def case_of(name: str, reference: str, generated: str, lang: str) -> pages.Case:
    labels = {"": findings.label(reference, lang), "generated": findings.label(generated, lang)}
    return pages.Case(name, reference, {"generated": generated}, {"generated": 0.5}, labels)


def test_texts_are_escaped_and_the_image_is_inside(tmp_path: Path) -> None:
    reports = {"zh": case_of("abc", "气胸。", "<b>未见气胸</b>", "zh")}
    term = attention.Term("<u>气胸", 0, 5, ("Pneumothorax",), "absent")
    maps = {"zh": [gallery.Shown(term, 2.5, np.zeros((4, 3, 3), np.uint8))]}
    case = gallery.Case("abc", np.zeros((8, 6), np.uint8), reports, maps)
    gallery.write_page(tmp_path / "g.html", "A & B", "one", {"Worst": [case], "Best": []})
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;未见" in page
    assert "&lt;u&gt;气胸" in page
    assert "Pneumothorax, absent; 2.5 ×" in page
    assert "A &amp; B" in page
    assert "<h2>Worst</h2>" in page
    assert "<h2>Best</h2>" not in page
    assert "data:image/png;base64," in page
    assert "data:image/jpeg;base64," in page
    assert "http:" not in page
    assert "https:" not in page


def test_thumbnails_keep_the_aspect_and_never_grow() -> None:
    assert gallery.thumbnail(np.zeros((1280, 640), np.uint8)).shape == (320, 160)
    assert gallery.thumbnail(np.zeros((30, 20), np.uint8)).shape == (30, 20)
    assert gallery.thumbnail(np.zeros((64, 64), np.uint8), 32, (100, 50)).shape == (32, 16)
