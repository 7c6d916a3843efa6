"""Names that people give to lungs and hearts, in English, Chinese and Spanish.

Right is the patient's right lung, on the image's left. None of the formats says what its users
mean by it, so `place` refuses a right lung that lies on the wrong side.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from xraytk.data.corrections import NAMES
from xraytk.errors import DataError, UsageError

BOTH, BOTH_CLEAR, IGNORED = "lungs", "clears", "ignore"
"""What a label can also be: both lungs, told apart by their place; both without the heart; nothing."""

_RIGHT = frozenset({"right", "r", "rt", "rgt", "右", "derecho", "derecha"})
_LEFT = frozenset({"left", "l", "lt", "lft", "左", "izquierdo", "izquierda"})
_LUNG = frozenset({"lung", "lungs", "肺", "pulmon", "pulmones", "pulmo"})
_HEART = frozenset({"heart", "cardiac", "cor", "心", "心脏", "心影", "corazon"})
_CLEAR = frozenset({"clear"})
_FILLER = frozenset(
    {"field", "fields", "mask", "masks", "region", "area", "silhouette", "seg", "segmentation", "contour",
     "outline", "both", "whole", "the", "of", "侧", "双", "两", "野", "部", "区", "ambos", "total"}
)  # fmt: skip
_KNOWN = _RIGHT | _LEFT | _LUNG | _HEART | _CLEAR | _FILLER
_HAN = re.compile("心脏|心影|[左右双两肺心侧野部区]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BREAKS = re.compile(r"[\W_]+")
_MOST_SAID = 40


def name_of(label: str, given: Mapping[str, str] | None = None) -> str | None:
    """What a label means.

    Args:
        label: As it stands in a file.
        given: The user's own, from `read_map`; it wins.

    Returns:
        One of `corrections.NAMES`, `BOTH`, `BOTH_CLEAR` or `IGNORED`; None when it is unknown.
    """
    if given:
        if label in given:
            return given[label]
        plain = {"_".join(_words(key)): value for key, value in given.items()}
        if (found := plain.get("_".join(_words(label)))) is not None:
            return found
    if label in (*NAMES, BOTH, BOTH_CLEAR):
        return label
    words = _words(label)
    has = set(words)
    if not words or not has <= _KNOWN or (has & _RIGHT and has & _LEFT):
        return None
    if has & _HEART:
        return None if has & (_LUNG | _CLEAR | _RIGHT | _LEFT) else "heart"
    side = "right" if has & _RIGHT else "left" if has & _LEFT else ""
    if has & _CLEAR:
        return f"{side}_clear" if side else BOTH_CLEAR
    if has & _LUNG:
        return f"{side}_lung" if side else BOTH
    return None


def _words(label: str) -> list[str]:
    """Words of a label, without case, accents and signs; Chinese ones by character."""
    plain = unicodedata.normalize("NFKC", label[:200])
    bare = "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))
    spaced = _CAMEL.sub(" ", _HAN.sub(lambda found: f" {found[0]} ", bare))
    return [word for word in _BREAKS.split(spaced.casefold()) if word]


def read_map(path: Path) -> dict[str, str]:
    """Read the user's labels: a JSON object from theirs to ours.

    Raises:
        DataError: If it is not a JSON object of texts.
        UsageError: If one of the values is not a name of ours.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        raise DataError(
            f"the label map {path} cannot be read", todo='Write it as {"their label": "right_lung", ...}.'
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise DataError(f"the label map {path} is no JSON object from texts to texts")
    return checked_map(found)


def checked_map(given: Mapping[str, str]) -> dict[str, str]:
    """The same map.

    Raises:
        UsageError: If one of the values is not a name of ours.
    """
    allowed = (*NAMES, BOTH, BOTH_CLEAR, IGNORED)
    if wrong := sorted(set(given.values()) - set(allowed)):
        raise UsageError(
            f"the label map gives {', '.join(map(repr, wrong[:5]))}", f"wanted one of {', '.join(allowed)}"
        )
    return dict(given)


def said(label: str) -> str:
    """A label as it may be printed: a class has a name, a number of four digits may be a person's."""
    plain = "".join(c for c in label if c.isprintable())[:_MOST_SAID]
    return "(withheld: it has numbers)" if len(re.findall(r"\d", plain)) >= 4 else plain or "(none)"
