"""Questions about images with their answers: read, made from findings, and scored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xraytk.errors import DataError
from xraytk.files import atomic_write
from xraytk.records import LANGUAGES
from xraytk.tasks.findings import language_of
from xraytk.tasks.language.prompts import read_prompts
from xraytk.tasks.metrics.panel import Panel
from xraytk.tasks.metrics.values import Floats, ratio

Kind = Literal["closed", "open"]
KINDS = ("closed", "open")
CLOSED = frozenset({"yes", "no", "是", "否", "有", "无", "没有", "是的", "不是"})
"""Answers of questions that are closed where a table does not say."""
METRICS = ("accuracy", "most frequent", "answerable")
NORMAL = "No Finding"
_SIDES = {
    "en": {"left": "left", "right": "right", "bilateral": "both"},
    "zh": {"left": "左侧", "right": "右侧", "bilateral": "双侧"},
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image.

    Args:
        image_id: The image.
        question: The question.
        answer: In lower case, without a point at its end.
        kind: "closed" (yes or no) or "open".
        lang: Of both.
    """

    image_id: str
    question: str
    answer: str
    kind: Kind
    lang: str


def read_questions(path: Path) -> list[Question]:
    """Read JSON lines with ``image_id``, ``question``, ``answer``, and maybe ``kind`` and ``lang``.

    Raises:
        DataError: If there are none, or a line is not such.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", todo="Give JSON lines of image_id, question, answer, kind.")
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            out.append(_question(path, number, line))
    if not out:
        raise DataError(f"{path} holds no question", "wanted a JSON object a line")
    return out


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write questions as `read_questions` reads them."""
    with atomic_write(path, "w") as stream:
        for question in questions:
            stream.write(json.dumps(asdict(question), ensure_ascii=False) + "\n")


def _question(path: Path, number: int, line: str) -> Question:
    try:
        row = json.loads(line)
        image, asked, said = (str(row[name]).strip() for name in ("image_id", "question", "answer"))
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: line {number:,} is no question", "wanted image_id, question, answer"
        ) from None
    answer = plain(said)
    if not (image and asked and answer):
        raise DataError(f"{path}: line {number:,} is no question", "image_id, question or answer is empty")
    kind = row.get("kind") or ("closed" if answer in CLOSED else "open")
    lang = row.get("lang") or ("zh" if language_of(asked) == "zh" else "en")
    if kind not in KINDS or lang not in LANGUAGES:
        raise DataError(
            f"{path}: line {number:,} has an unknown kind or lang",
            f"kinds: {', '.join(KINDS)}; languages: {', '.join(LANGUAGES)}",
        )
    return Question(image, asked, answer, "closed" if kind == "closed" else "open", lang)


def plain(answer: str) -> str:
    """An answer as it is compared: lower case, single spaces, no point at the end."""
    return " ".join(answer.casefold().split()).rstrip(".。")


def answers_of(questions: Sequence[Question]) -> tuple[str, ...]:
    """The answers that a model can give, the most frequent first."""
    counts = Counter(question.answer for question in questions)
    return tuple(sorted(counts, key=lambda answer: (-counts[answer], answer)))


def most_frequent(questions: Sequence[Question]) -> dict[str, str]:
    """The most frequent answer to each question, and under "" and the kind to each kind of question."""
    counts: dict[str, Counter[str]] = {}
    for question in questions:
        for key in (question.question, f"{question.lang} {question.kind}"):
            counts.setdefault(key, Counter())[question.answer] += 1
    return {key: min(found, key=lambda a: (-found[a], a)) for key, found in counts.items()}


def guess(question: Question, frequent: Mapping[str, str]) -> str:
    """What one says who does not look at the image; "" where nothing like it was asked."""
    return frequent.get(question.question) or frequent.get(f"{question.lang} {question.kind}", "")


def answer_panel(
    questions: Sequence[Question], given: Sequence[str], answers: Sequence[str], frequent: Mapping[str, str]
) -> Panel:
    """Accuracy of all questions, of closed and of open ones, and of each language where there are two.

    Beside it stand what the most frequent training answer to the same question would score, and the
    share of questions whose answer the model knows at all.

    Args:
        questions: n questions.
        given: n answers.
        answers: That the model knows.
        frequent: Of `most_frequent`, over the training questions.
    """
    known = {"all": np.ones(len(questions), np.bool_)}
    known |= {kind: np.asarray([q.kind == kind for q in questions]) for kind in KINDS}
    langs = sorted({q.lang for q in questions})
    if len(langs) > 1:
        known |= {lang: np.asarray([q.lang == lang for q in questions]) for lang in langs}
    able = set(answers)
    right = np.asarray(
        [
            (said == q.answer, guess(q, frequent) == q.answer, q.answer in able)
            for q, said in zip(questions, given, strict=True)
        ],
        np.float64,
    )

    def score(weights: Floats) -> Floats:
        parts = [weights * part for part in known.values()]
        return np.concatenate([ratio(part @ right, part.sum(1)[:, None]) for part in parts], axis=1)

    why: dict[str | tuple[str, str], str] = dict.fromkeys(known, "there is no such question")
    return Panel(tuple(known), METRICS, score, known, why)


def questions_about(
    image_id: str, labels: Mapping[str, float], sides: Mapping[str, str], lang: str
) -> list[Question]:
    """Make questions of what is known of an image.

    Args:
        image_id: The image.
        labels: 1 or 0 by finding; others are not asked about.
        sides: "left", "right" or "bilateral" of findings that are present, as far as known.
        lang: "en" or "zh".

    Returns:
        Is there this finding, for each; on which side, for those whose side is known; and what is
        abnormal, where one finding is present or none.
    """
    names = read_prompts(None, ())[lang]["names"]
    known = {label: value for label, value in labels.items() if value in (0, 1)}
    said = {
        label: str(names.get(label) or (label if lang == "zh" else label.replace("_", " ").lower()))
        for label in known
        if label != NORMAL
    }
    there = [label for label in said if known[label] == 1]
    english = lang == "en"

    def make(question: str, answer: str, kind: Kind) -> Question:
        return Question(image_id, question, answer, kind, lang)

    out = []
    for label, name in said.items():
        asked = f"Is there {name}?" if english else f"有{name}吗？"
        yes, no = ("yes", "no") if english else ("有", "无")
        out.append(make(asked, yes if label in there else no, "closed"))
        if label in there and sides.get(label):
            bare = name.removeprefix("a ").removeprefix("an ")
            asked = f"On which side is the {bare}?" if english else f"{name}在哪一侧？"
            out.append(make(asked, _SIDES[lang][sides[label]], "open"))
    if NORMAL in known:
        asked, yes, no = ("Is the chest normal?", "yes", "no") if english else ("胸片正常吗？", "是", "否")
        out.append(make(asked, yes if known[NORMAL] == 1 else no, "closed"))
    if len(there) <= 1:
        asked = "What is abnormal?" if english else "有什么异常？"
        nothing = "nothing" if english else "未见异常"
        out.append(make(asked, plain(said[there[0]]) if there else nothing, "open"))
    return out


def as_row(question: Question, given: str, chance: float) -> dict[str, Any]:
    """A line of predictions.jsonl."""
    return {**asdict(question), "given": given, "chance": chance, "right": given == question.answer}
