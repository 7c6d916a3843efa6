"""HTML pages that need no other file: escaping, a look for light, dark and paper, pictures inside.

Everything is escaped unless it is `Html` already, and the page itself forbids the browser to
load anything.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xraytk.data.pictures import encode_png

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_VOID = frozenset({"img", "meta", "br", "rect", "line", "path", "polygon", "circle"})

_STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfbfa; --card: #fff; --ink: #1c2024; --soft: #5a6370; --line: #dcdfe3; --track: #e9ecef;
  --alarm: #b3261e; --fine: #1b6e3c; --one: #2b6cb0; --two: #b45309; --three: #5b7083; --four: #7a4f9e }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1c2024; --ink: #e6e8ea; --soft: #a3adb8; --line: #363c44; --track: #2a3037;
  --alarm: #ff9d94; --fine: #7fd6a0; --one: #6fb1f2; --two: #f0a35e; --three: #93a5b5; --four: #c39ae6 } }
@media print { :root { color-scheme: light;
  --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --track: #eee;
  --alarm: #b3261e; --fine: #1b6e3c; --one: #2b6cb0; --two: #b45309; --three: #5b7083; --four: #7a4f9e } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  margin: 2em auto; max-width: 75em; padding: 0 1em; color: var(--ink); background: var(--paper);
  overflow-wrap: break-word }
img { background: #000 }
table { border-collapse: collapse }
td, th { text-align: left; vertical-align: top; padding: .3em 1em .3em 0 }
th { color: var(--soft); font-weight: normal }
.notice { color: var(--alarm) }
"""


class Html(str):
    """Text that is HTML already. What is not of this class is escaped."""

    __slots__ = ()


def as_html(value: object) -> Html:
    """Escape a value, unless it is `Html`; control and direction characters become U+FFFD."""
    if isinstance(value, Html):
        return value
    whole = str(value).encode("utf-8", "replace").decode()
    return Html(html.escape(_CONTROL.sub("\ufffd", whole)))


def joined(parts: Iterable[object], between: str = "") -> Html:
    """Escape each part and put them together."""
    return Html(as_html(between).join(as_html(part) for part in parts))


def tag(name: str, /, *inside: object, **attributes: object) -> Html:
    """Make an element; all that stands inside is escaped.

    Args:
        name: Of the element.
        inside: Text or `Html`.
        attributes: "_" at the end is dropped and within becomes "-" (``class_``, ``aria_label``);
            None leaves one out.

    Returns:
        The element.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{as_html(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not inside:
        return Html(f"<{name}{said}>" if name in ("img", "meta", "br") else f"<{name}{said}/>")
    return Html(f"<{name}{said}>{joined(inside)}</{name}>")


def table(head: Iterable[object], rows: Iterable[Iterable[object]], class_: str = "") -> Html:
    """Make a table with a line of headings; the first cell of a row is its heading."""
    lines = []
    for first, *rest in rows:
        lines.append(tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)))
    top = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    return tag("table", top, tag("tbody", *lines), class_=class_ or None)


def picture(image: NDArray[Any], alt: str, *, quality: int | None = None) -> Html:
    """Make an ``img`` with the picture inside.

    Args:
        image: (H, W) uint8.
        alt: What it shows, in words.
        quality: Of JPEG, 1 to 100; None makes it PNG.

    Returns:
        The element; the same bytes every time.
    """
    height, width = image.shape[:2]
    if quality is None:
        kind, data = "png", encode_png(image)
    else:
        fine, coded = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert fine
        kind, data = "jpeg", coded.tobytes()
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return tag("img", alt=alt, width=width, height=height, src=source)


def document(title: str, body: Html, style: str = "") -> str:
    """Put a page together.

    Args:
        title: Plain text.
        body: What stands in it.
        style: More CSS, behind the common one.

    Returns:
        The page; it may load nothing (Content-Security-Policy), and runs no script.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = (
        Html('<meta charset="utf-8">')
        + tag("meta", http_equiv="Content-Security-Policy", content=policy)
        + tag("meta", name="viewport", content="width=device-width, initial-scale=1")
        + tag("title", title)
        + f"<style>{_STYLE}{style}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
