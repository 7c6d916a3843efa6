"""Left and right in the words of a report, swapped for a mirrored image.

A text swapped twice is the text again: whether a word is a side of the body is told by the words
around it alone, so that "left" and "right" are kept in the same places. "All right", "right
now", "has left.", "was left in place", 约3cm左右 are kept; so are, by symmetry, "all left" and
"left now", which nobody writes. "None left" is taken for the side, as reports mean it. What has
no side stays ("bilateral", "both", 双, 左右肺). The middle lobe has no counterpart: RML becomes LML
and back, "right middle lobe" "left middle lobe", which says where it lies in the mirrored image.
"""

from __future__ import annotations

import re

_PAIRS = {
    "left": "right",
    "leftsided": "rightsided",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
    "lt": "rt",
    "lul": "rul",
    "lml": "rml",
    "lll": "rll",
    "luz": "ruz",
    "lmz": "rmz",
    "llz": "rlz",
    "lij": "rij",
    "levoscoliosis": "dextroscoliosis",
    "levoscoliotic": "dextroscoliotic",
    "levocurvature": "dextrocurvature",
    "levoconvex": "dextroconvex",
    "levocardia": "dextrocardia",
    "levoposition": "dextroposition",
}
_OTHER = _PAIRS | {right: left for left, right in _PAIRS.items()}

_WORD = re.compile(r"[A-Za-z]+")
_CLAUSE_ENDS = re.compile(r"[.,;:!?()\[\]\n\r。，；：！？（）]")

_SURE = ("the", "on", "to", "from", "of", "at", "in", "and", "or", "than", "versus", "vs", "more")
"""After these words it is a side, but for "at right angles"."""
_IDIOMS = ("now", "away", "here", "there", "angled", "behind", "over", "against", "ama")
"""Before these words it is none."""
_LEAVING = ("has", "have", "had", "having", "patient", "he", "she", "they", "who")
_PLACES = ("the", "his", "her", "their", "our", "this", "for", "before", "without")
_BEING = ("was", "were", "been", "be", "being", "is", "are")
_STATES = ("open", "untreated", "alone", "undisturbed", "out", "off")
_IN_PLACE = ("place", "situ", "position")

_LETTER = re.compile(
    r"(?<![\w.>])(?<!\d )([LR])(?= (?:lung|sided?|upper|mid|middle|lower|bas(?:e|al|ilar)|apex|apical|"
    r"hil(?:um|ar)|pleural|effusion|pneumothorax|hemithorax|hemidiaphragm|costophrenic|convex|IJ|PICC|subclavian)\b)"
)
_ALONE = re.compile(r"(?<=\()[LR](?=\))|\b[LR](?= ?[<>] ?[LR]\b)|(?<=[<>])[LR]\b|(?<=[<>] )[LR]\b")
_CHINESE = re.compile("[左右]+")


def swapped(text: str) -> str:
    """Swap left and right in a report, or in the name of a label, in English and in Chinese.

    Args:
        text: Any text.
    """
    words = list(_WORD.finditer(text))
    parts, end = [], 0
    for i, word in enumerate(words):
        other = _OTHER.get(word[0].lower())
        if other is None or not _plain(word[0]):
            continue
        if other in ("left", "right") and _is_no_side(text, words, i):
            continue
        parts += [text[end : word.start()], _like(word[0], other)]
        end = word.end()
    text = "".join([*parts, text[end:]])
    for letter in (_LETTER, _ALONE):
        text = letter.sub(lambda found: "L" if found[0] == "R" else "R", text)
    return _CHINESE.sub(_swap_run, text)


def _swap_run(found: re.Match[str]) -> str:
    """左 alone is a side; 左右 is "about" after a number, and else both sides: it stays."""
    return found[0] if len(set(found[0])) > 1 else ("左右"["右左".index(found[0][0])] * len(found[0]))


def _plain(word: str) -> bool:
    return word.islower() or word.isupper() or word.istitle()


def _like(word: str, other: str) -> str:
    return other.upper() if word.isupper() else other.title() if word.istitle() else other


def _is_no_side(text: str, words: list[re.Match[str]], i: int) -> bool:
    """Whether "left" or "right" means no side here; looks at the words around it only."""
    before, after, later = (_near(text, words, i, step) for step in (-1, 1, 2))
    if before in _SURE:
        return before == "at" and after == "angles"
    if after in _IDIOMS:
        return True
    if before == "all":
        return after == ""
    if before in _LEAVING:
        return after == "" or after in _PLACES
    if before in _BEING:
        return after in _STATES or (after == "in" and later in _IN_PLACE)
    return False


def _near(text: str, words: list[re.Match[str]], i: int, step: int) -> str:
    """The word some steps away, in lower case; "" beyond the clause."""
    j = i + step
    if not 0 <= j < len(words):
        return ""
    first, last = (words[i], words[j]) if step > 0 else (words[j], words[i])
    return "" if _CLAUSE_ENDS.search(text, first.end(), last.start()) else words[j][0].lower()
