"""Words and characters of reports, and the vocabulary over both languages.

No torch here: the metrics split text the same way as the models do.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from xraytk.errors import DataError
from xraytk.files import read_json, write_json
from xraytk.records import LANGUAGES

FORMAT = 1
SPLITTING = (
    "2: lower case; Latin words, numbers and blanks (___) whole; every other sign, so every Chinese "
    "character, alone"
)
"""How `split` works, with its version, for protocol fingerprints."""

PAD, UNK, EOS = "<pad>", "<unk>", "<eos>"

_WORD = r"[a-z0-9\u00c0-\u024f]"
_TOKEN = re.compile(
    rf"\d+(?:[./]\d+)*(?=(?:mm|cm|ml)(?![a-z]))|{_WORD}+(?:[-./'’]{_WORD}+)*|_+|\S", re.IGNORECASE
)
_TO_CHINESE = str.maketrans(",;:?!()", "，；：？！（）")
_NARROW = {0xFF10 + i: ord("0") + i for i in range(10)} | {
    wide + i: narrow + i for wide, narrow in ((0xFF21, ord("A")), (0xFF41, ord("a"))) for i in range(26)
}
_NO_SPACE_BEFORE = frozenset(".,;:?!)]%")
_NO_SPACE_AFTER = frozenset("([")
_SIGNS = frozenset(".?!:;")


def split(text: str, lang: str) -> list[str]:
    """Split a report into tokens, keeping the case.

    Latin words and numbers stay whole ("x-ray", "2.1"), units apart from their number ("12",
    "mm" from "12mm"), and so does the blank of a de-identified report ("___"); every other sign is
    a token. In Chinese, half-width punctuation is read as full-width, and full-width digits and
    letters as half-width, so that both ways of typing score the same.

    Args:
        text: The report.
        lang: "en" or "zh".

    Returns:
        The tokens; empty for a blank text.

    Source:
        Ours: methods differ between papers, so the protocol is printed with every score.
    """
    text = text.translate(_NARROW)
    if lang == "zh":
        text = text.translate(_TO_CHINESE)
    tokens = _TOKEN.findall(text)
    return ["。" if t == "." else t for t in tokens] if lang == "zh" else tokens


def units(text: str, lang: str) -> list[str]:
    """Split a report into what the metrics count: `split` in lower case."""
    return split(text.lower(), lang)


def spans(text: str, lang: str) -> list[tuple[str, int, int]]:
    """`units` with their places: (unit, first character, one past the last) in ``text``."""
    plain = text.translate(_NARROW)
    plain = plain.translate(_TO_CHINESE) if lang == "zh" else plain
    return [
        ("。" if lang == "zh" and m[0] == "." else m[0].lower(), m.start(), m.end())
        for m in _TOKEN.finditer(plain)
    ]


def join(tokens: Iterable[str], lang: str, ends: Collection[str] = ".?!") -> str:
    """Set tokens as a text: sentence case and spaces in English, none in Chinese.

    Args:
        tokens: As `split` gives them.
        lang: "en" or "zh".
        ends: Signs after which an English word is capitalised.
    """
    text, start, glued = "", True, True
    for token in tokens:
        if lang == "zh":
            text += (
                " " if text[-1:].isalnum() and (text[-1] + token[0]).isascii() and token[0].isalnum() else ""
            )
            text += token
            continue
        text += "" if glued or token in _NO_SPACE_BEFORE else " "
        text += token[0].upper() + token[1:] if start else token
        start = token in ends or (start and token in _NO_SPACE_AFTER)
        glued = token in _NO_SPACE_AFTER
    return text


class Vocabulary:
    """Token numbers of English words and Chinese characters, in one table.

    The first numbers are padding, unknown, end, and one start token a language, which tells
    the decoder what to write.

    Args:
        tokens: All tokens in order of their numbers, the special ones first.
        cased: How a lower-case word is written inside a sentence, where that is not lower
            case ("ap": "AP").
        ends: Signs after which English is capitalised.
    """

    def __init__(self, tokens: Sequence[str], cased: Mapping[str, str], ends: Collection[str]) -> None:
        self.tokens = tuple(tokens)
        self.cased = dict(cased)
        self.ends = tuple(ends)
        self._number = {token: i for i, token in enumerate(self.tokens)}
        self.pad, self.unk, self.eos = (self._number[t] for t in (PAD, UNK, EOS))

    def __len__(self) -> int:
        return len(self.tokens)

    def start(self, lang: str) -> int:
        """Number of the token that starts a report in ``lang``."""
        return self._number[f"<{lang}>"]

    @classmethod
    def build(cls, reports: Mapping[str, Iterable[str]], min_count: int = 1) -> Vocabulary:
        """Collect the vocabulary of training reports.

        Args:
            reports: Texts by language.
            min_count: Rarer tokens become unknown.

        Raises:
            DataError: If there is not one word.
        """
        counts: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()  # an English word and what stands before it
        for lang in sorted(reports):
            for text in reports[lang]:
                tokens = split(text, lang)
                counts.update(token.lower() for token in tokens)
                if lang == "en":
                    pairs.update(itertools.pairwise(tokens))
        if not counts:
            raise DataError(
                "no report to learn words from",
                "every report of the training split is blank",
                "Give reports to `xraytk ingest --reports FILE`, then run `xraytk shard` again.",
            )
        words = sorted(token for token, count in counts.items() if count >= min_count)
        special = [PAD, UNK, EOS, *(f"<{lang}>" for lang in LANGUAGES)]
        return cls([*special, *words], *_casing(pairs))

    def room(self, max_tokens: int) -> int:
        """Numbers that may be written: ``max_tokens`` and the end."""
        return max_tokens + 1

    def encode(self, text: str, lang: str, max_tokens: int) -> list[int]:
        """Turn a report into numbers: start token, words, end.

        A report of more than ``max_tokens`` words is cut, and then has no end, so that the
        model is not taught to stop in the middle of a sentence.
        """
        words = [self._number.get(t, self.unk) for t in units(text, lang)]
        end = [self.eos] if len(words) <= max_tokens else []
        return [self.start(lang), *words[:max_tokens], *end]

    def places(self, text: str, lang: str, max_tokens: int) -> list[tuple[int, int]]:
        """Where in a text the words of `encode` stand: first character, one past the last."""
        return [(start, end) for _, start, end in spans(text, lang)][:max_tokens]

    def decode(self, numbers: Iterable[int], lang: str) -> str:
        """Turn numbers into a text, up to the end token, leaving out special tokens."""
        tokens = []
        for number in numbers:
            if number == self.eos:
                break
            token = self.tokens[number]
            if not (len(token) > 2 and token.startswith("<") and token.endswith(">")):
                tokens.append(self.cased.get(token, token))
        return join(tokens, lang, self.ends)

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        tree = {"format": FORMAT, "splitting": SPLITTING, "ends": self.ends, "cased": self.cased}
        write_json(path, {**tree, "tokens": self.tokens})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens in their order."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a vocabulary.

        Raises:
            DataError: If the file is missing, broken or of another format.
        """
        tree = read_json(path, "xraytk finetune report")
        tokens, cased, ends = (tree.get(key) for key in ("tokens", "cased", "ends"))
        whole = isinstance(tokens, list) and isinstance(cased, dict) and isinstance(ends, list)
        if tree.get("format") != FORMAT or not whole:
            raise DataError(f"{path} is not a vocabulary of format {FORMAT}", f"found {tree.get('format')!r}")
        missing = sorted({PAD, UNK, EOS, *(f"<{lang}>" for lang in LANGUAGES)} - set(tokens or ()))
        if missing:
            raise DataError(f"{path} is not a whole vocabulary", f"it lacks {', '.join(missing)}")
        return cls(tokens or (), cased or {}, ends or ())


def _casing(pairs: Mapping[tuple[str, str], int]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Learn from pairs of neighbours which signs capitalise, and which words always have capitals."""
    after: Counter[str] = Counter()
    for (sign, word), count in pairs.items():
        if sign in _SIGNS and word[0].isalpha():
            after[sign] += count if word[0].isupper() else -count
    ends = tuple(sorted(sign for sign, balance in after.items() if balance > 0)) or (".",)
    inside: dict[str, Counter[str]] = {}
    for (sign, word), count in pairs.items():
        if sign not in ends:
            inside.setdefault(word.lower(), Counter())[word] += count
    forms = {word: max(sorted(found), key=found.__getitem__) for word, found in inside.items()}
    return {word: form for word, form in sorted(forms.items()) if form != word}, ends
