"""R2Gen's cleaner and tokenizer, with their quirks, for numbers that can be compared with its paper.

English only. `tokens.Vocabulary` is what we would use: this one joins "and/or" to "andor", loses
the point of "2.1 cm", and cuts long reports without teaching where to stop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from xraytk.errors import DataError, UsageError
from xraytk.files import read_json, write_json

FORMAT = 1
KIND = "r2gen"
UNKNOWN = "<unk>"
END = 0
"""Number of start, end and padding alike."""

Cleaner = Literal["iu", "mimic"]

_SIGNS = re.compile(r"[.,?;*!%^&_+():-\[\]{}]")  # ":-[" is a range in the original too: hyphens stay
_LOST = str.maketrans("", "", "\"/\\'")
_LISTS = (
    *(("1. ", ""), *((f". {n}. ", ". ") for n in range(2, 6))),
    *((f" {n}. ", ". ") for n in range(2, 6)),
)
_REPEATED = {"iu": (("..", ".", 3),), "mimic": (("__", "_", 7), ("  ", " ", 6), ("..", ".", 8))}


def clean(report: str, cleaner: Cleaner) -> str:
    """Clean a report as R2Gen does.

    Args:
        report: Any text; an empty one becomes " .".
        cleaner: "iu" or "mimic".

    Source:
        R2Gen (Chen et al. 2020), what its released tokenizer does; the number of
        times a sign is halved is the original's.
    """
    text = report.replace("\n", " ") if cleaner == "mimic" else report
    for old, new, times in _REPEATED[cleaner]:
        for _ in range(times):
            text = text.replace(old, new)
    for old, new in _LISTS:
        text = text.replace(old, new)
    sentences = (_SIGNS.sub("", s.translate(_LOST).strip().lower()) for s in text.strip().lower().split(". "))
    return " . ".join(sentences) + " ."


class R2GenVocabulary:
    """Word numbers from 1 on; 0 is start, end and padding.

    Args:
        tokens: All words with `UNKNOWN`, in order of their numbers.
        cleaner: "iu" or "mimic".
    """

    pad = eos = END

    def __init__(self, tokens: Sequence[str], cleaner: Cleaner) -> None:
        self.tokens, self.cleaner = tuple(tokens), cleaner
        self._number = {token: i for i, token in enumerate(self.tokens, start=1)}
        self.unk = self._number[UNKNOWN]

    def __len__(self) -> int:
        return len(self.tokens) + 1

    @classmethod
    def build(cls, reports: Iterable[str], min_count: int, cleaner: Cleaner) -> R2GenVocabulary:
        """Collect the words that the training reports have at least ``min_count`` times."""
        counts = Counter(word for report in reports for word in clean(report, cleaner).split())
        return cls(
            sorted([UNKNOWN, *(word for word, count in counts.items() if count >= min_count)]), cleaner
        )

    def start(self, lang: str) -> int:
        """Number that starts a report: 0.

        Raises:
            UsageError: If the language is not English.
        """
        if lang != "en":
            raise UsageError(f"R2Gen's tokenizer does not know {lang}", todo="Set langs=['en'].")
        return END

    def room(self, max_tokens: int) -> int:
        """Words that may be written: as many as ``max_tokens``."""
        return max_tokens

    def encode(self, text: str, lang: str, max_tokens: int) -> list[int]:
        """0, words, 0, and then the first ``max_tokens`` of these: a long report has no end."""
        words = [self._number.get(word, self.unk) for word in clean(text, self.cleaner).split()]
        return [self.start(lang), *words, END][:max_tokens]

    def places(self, text: str, lang: str, max_tokens: int) -> list[tuple[int, int]]:
        """Where in a text the words of `encode` stand; empty where the cleaner changed a word."""
        out, at, lower = [], 0, text.lower()
        for word in clean(text, self.cleaner).split()[: max(0, max_tokens - 1)]:
            start = lower.find(word, at)
            found = (start, start + len(word)) if start >= 0 else (at, at)
            out.append(found)
            at = found[1]
        return out

    def decode(self, numbers: Iterable[int], lang: str) -> str:
        """Words up to the first 0, with spaces between."""
        words = []
        for number in numbers:
            if number == END:
                break
            words.append(self.tokens[number - 1])
        return " ".join(words)

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        write_json(path, {"format": FORMAT, "kind": KIND, "cleaner": self.cleaner, "tokens": self.tokens})

    @classmethod
    def load(cls, path: Path) -> R2GenVocabulary:
        """Read a vocabulary.

        Raises:
            DataError: If the file is broken or of another format.
        """
        tree = read_json(path, "xraytk finetune report")
        tokens = tree.get("tokens")
        if (
            tree.get("format") != FORMAT
            or not isinstance(tokens, list)
            or UNKNOWN not in tokens
            or tree.get("cleaner") not in _REPEATED
        ):
            raise DataError(f"{path} is not a vocabulary of format {FORMAT} of R2Gen's tokenizer")
        return cls(tokens, tree["cleaner"])
