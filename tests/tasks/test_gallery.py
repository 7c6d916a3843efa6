from __future__ import annotations

from pathlib import Path

import numpy as np

from xraytk.tasks import gallery


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
