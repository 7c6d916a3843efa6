from __future__ import annotations

from pathlib import Path

import numpy as np

from xraytk.tasks import gallery, metrics


def test_texts_are_escaped_and_the_image_is_inside(tmp_path: Path) -> None:
    case = gallery.Case("abc", np.zeros((8, 6), np.uint8), {"generated zh": "<b>未见气胸</b>"})
    gallery.write_page(tmp_path / "g.html", "A & B", "one", [case])
    page = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;未见气胸&lt;/b&gt;" in page
    assert "A &amp; B" in page
    assert "data:image/png;base64," in page
    assert "http:" not in page
    assert "https:" not in page


def test_thumbnails_keep_the_aspect_and_never_grow() -> None:
    assert gallery.thumbnail(np.zeros((1280, 640), np.uint8)).shape == (320, 160)
    assert gallery.thumbnail(np.zeros((30, 20), np.uint8)).shape == (30, 20)


def test_a_curve_is_drawn_even_when_no_label_has_both_classes(tmp_path: Path) -> None:
    scores, truth = np.array([[0.2, 0.1], [0.7, 0.4]]), np.array([[0.0, 1.0], [1.0, np.nan]])
    for count in (2, 1):
        labels = ["A", "B"][:count][::-1]
        columns = [["A", "B"].index(label) for label in labels]
        values = metrics.score_labels(
            scores[:, columns], truth[:, columns], labels, {}, ["p", "q"], resamples=5
        )
        gallery.draw_roc(tmp_path / f"{count}.png", scores[:, columns], truth[:, columns], labels, values)
        assert (tmp_path / f"{count}.png").read_bytes().startswith(b"\x89PNG")
