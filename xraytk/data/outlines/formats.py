"""The formats, which one a file has, and the files of a folder."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from xraytk.data.outlines.outline import Outline, Refusal, refusal
from xraytk.data.outlines.seg import SOP_CLASS
from xraytk.errors import DataError

FORMATS = {
    "labelme": "xraytk.data.outlines.labelme",
    "coco": "xraytk.data.outlines.coco",
    "cvat": "xraytk.data.outlines.cvat",
    "png": "xraytk.data.outlines.masks",
    "seg": "xraytk.data.outlines.seg",
    "table": "xraytk.data.outlines.table",
}
"""Name to the module that reads it and, but for "seg", writes it (see `seg_write`)."""

_SEG = re.compile(re.escape(SOP_CLASS).encode() + rb"(?![0-9.])")
_HEAD = 4096
_CHUNK = 1 << 20
_KEYS = (b'"shapes"', b'"imagePath"', b'"annotations"', b'"images"')
_LONGEST = max(map(len, _KEYS))


def read(path: Path, name: str) -> Iterator[Outline | Refusal]:
    """Read a file of a format; whatever is wrong with it becomes a refusal.

    Args:
        path: The file.
        name: A key of `FORMATS`; "" for one of no known format.
    """
    if not name:
        yield Refusal("not-readable", "of no known format", (path.stem,))
        return
    reader = cast(Callable[[Path], Iterator[Outline | Refusal]], _module(name).read)
    try:
        yield from reader(path)
    except Exception as error:  # one broken file never stops the others
        yield refusal(error, (path.stem,))


def writer(name: str) -> Callable[[Iterable[Outline], Path], int]:
    """The writer of a format other than "seg"."""
    return cast(Callable[[Iterable[Outline], Path], int], _module(name).write)


def _module(name: str) -> Any:
    return importlib.import_module(FORMATS[name])


def format_of(path: Path) -> str:
    """Tell the format of a file by its content.

    Args:
        path: Any file.

    Returns:
        A key of `FORMATS`, or "".
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            if head.startswith(b"\x89PNG\r\n\x1a\n"):
                return "png"
            if head.startswith(b"PAR1"):
                return "table"
            if head[128:132] == b"DICM":
                return "seg" if _SEG.search(head) else ""
            plain = head.replace(b"\0", b"").removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe \t\r\n")
            if plain.startswith(b"<"):
                return "cvat"
            if plain.startswith(b"{"):
                stream.seek(0)
                return _kind_of_json(iter(lambda: stream.read(_CHUNK), b""))
    except OSError:
        pass
    return ""


def _kind_of_json(chunks: Iterator[bytes]) -> str:
    """LabelMe or COCO, by the keys; LabelMe's pictures are long, so that they may stand anywhere."""
    seen: set[bytes] = set()
    before = b""
    for chunk in chunks:
        text = before + chunk
        seen |= {key for key in _KEYS if key not in seen and key in text}
        if {_KEYS[0], _KEYS[1]} <= seen:
            return "labelme"
        before = text[-_LONGEST:]
    if _KEYS[0] in seen:
        return "labelme"
    return "coco" if seen & {_KEYS[2], _KEYS[3]} else ""


def listed(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """All files of what was named, folders gone through in order of name.

    Args:
        paths: Files and folders, in the user's order.

    Yields:
        A file, and whether the user named it by itself. Hidden files are passed over, and PNG
        pictures beside a JSON file of their name: LabelMe keeps its images there.

    Raises:
        DataError: If one of the paths is not there.
    """
    for number, path in enumerate(paths, 1):
        if not path.exists():
            raise DataError(f"path {number} of those to import does not exist", todo="Look at its spelling.")
    for path in paths:
        if not path.is_dir():
            yield path, True
            continue
        for folder, names, files in os.walk(path):
            names[:] = sorted(name for name in names if not name.startswith("."))
            pictured = {file[:-5] for file in files if file.lower().endswith(".json")}
            for file in sorted(files):
                if file.startswith(".") or (file.lower().endswith(".png") and file[:-4] in pictured):
                    continue
                yield Path(folder) / file, False
