"""Labels as sentences: templates of the methods, names of labels, and words of one's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytk.config import read_toml
from xraytk.errors import DataError
from xraytk.records import LANGUAGES

METHODS = ("chexzero", "maco")
OURS = Path(__file__).with_name("prompts.toml")
NAME = "{name}"
_SIDES = ("positive", "negative")

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Sentences that are true when a label is present, and such that are true when it is not.

    Args:
        positive: At least one.
        negative: At least one.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]


def read_prompts(path: Path | None, labels: Collection[str]) -> Tree:
    """Read our prompts, and over them a file of one's own.

    Args:
        path: TOML or JSON in the form of ``prompts.toml``, any part of it; None for ours alone.
        labels: Those that are scored; the file may name no other.

    Returns:
        By language: ``chexzero``, ``maco``, ``names``, ``labels``.

    Raises:
        DataError: If the file is not of that form, or names an unknown language or label.
    """
    ours = read_toml(OURS)
    if path is None:
        return ours
    theirs = _read(path)
    _refuse(path, "language", theirs, LANGUAGES)
    for lang, parts in theirs.items():
        _refuse(path, f"part of {lang}", parts, (*METHODS, "names", "labels"))
        for method in METHODS:
            if method in parts:
                _check_sides(path, f"{lang}.{method}", parts[method], template=True)
        named = {part: _table(path, f"{lang}.{part}", parts.get(part, {})) for part in ("names", "labels")}
        for part, entries in named.items():
            _refuse(path, f"label in {lang}.{part}", entries, labels)
        for label, name in named["names"].items():
            if not isinstance(name, str) or not name.strip():
                raise DataError(f"{path}: {lang}.names.{label} is no text")
        for label, sides in named["labels"].items():
            _check_sides(path, f"{lang}.labels.{label}", sides)
    return _merged(ours, theirs)


def prompts_of(label: str, lang: str, method: str, tree: Tree) -> Prompts | None:
    """The sentences of a label.

    Args:
        label: Its name in the shards.
        lang: "en" or "zh".
        method: One of `METHODS`.
        tree: Of `read_prompts`.

    Returns:
        None when the label has no name in that language.
    """
    parts = tree[lang]
    own = parts.get("labels", {}).get(label, {})
    name = parts.get("names", {}).get(label) or (label.replace("_", " ").lower() if lang == "en" else None)
    made = {}
    for side in _SIDES:
        if side in own:
            made[side] = tuple(own[side])
        elif name is None:
            return None
        else:
            made[side] = tuple(text.replace(NAME, name) for text in parts[method][side])
    return Prompts(made["positive"], made["negative"])


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise DataError(f"{path} does not exist", todo="Give a TOML or JSON file of prompts.")
    if path.suffix.lower() != ".json":
        return read_toml(path)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is not JSON", str(error).splitlines()[0]) from None
    return _table(path, "it", tree)


def _table(path: Path, name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: {name} is no table", f"found {type(value).__name__}")
    return value


def _refuse(path: Path, what: str, found: Any, known: Collection[str]) -> None:
    """Refuse names that nobody knows."""
    unknown = [name for name in _table(path, what, found) if name not in known]
    if unknown:
        raise DataError(
            f"{path} names {len(unknown)} unknown {what}: {', '.join(unknown)}",
            f"there are: {', '.join(known)}",
            "Write the name as it stands there, or leave the entry out.",
        )


def _check_sides(path: Path, name: str, sides: Any, *, template: bool = False) -> None:
    """Check the sentences of one label, or templates."""
    _refuse(path, f"entry in {name}", sides, _SIDES)
    for side, texts in sides.items():
        fine = isinstance(texts, list) and texts and all(isinstance(t, str) and t.strip() for t in texts)
        if not fine:
            raise DataError(f"{path}: {name}.{side} is no list of texts", "wanted at least one")
        if template and side == "positive" and not all(NAME in text for text in texts):
            raise DataError(f"{path}: a template of {name}.{side} lacks {NAME}")


def _merged(ours: Tree, theirs: Mapping[str, Any]) -> Tree:
    out = copy.deepcopy(ours)
    for key, value in theirs.items():
        deeper = isinstance(value, Mapping) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if deeper else value
    return out
