from __future__ import annotations

import json
from pathlib import Path

import pytest

from xraytk.errors import DataError
from xraytk.tasks.language.questions import (
    Question,
    answer_panel,
    answers_of,
    guess,
    most_frequent,
    questions_about,
    read_questions,
    write_questions,
)


def question(
    answer: str, kind: str = "closed", asked: str = "Is there a mass?", lang: str = "en"
) -> Question:
    return Question("a", asked, answer, kind, lang)  # type: ignore[arg-type]


def test_questions_are_made_of_what_is_known() -> None:
    labels = {"Nodule": 1.0, "Pneumothorax": 0.0, "No Finding": 0.0, "Edema": float("nan")}
    made = questions_about("a", labels, {"Nodule": "left"}, "en")
    assert [(q.question, q.answer, q.kind) for q in made] == [
        ("Is there a pulmonary nodule?", "yes", "closed"),
        ("On which side is the pulmonary nodule?", "left", "open"),
        ("Is there pneumothorax?", "no", "closed"),
        ("Is the chest normal?", "no", "closed"),
        ("What is abnormal?", "a pulmonary nodule", "open"),
    ]
    chinese = questions_about("a", {"Nodule": 0.0, "No Finding": 1.0}, {}, "zh")
    assert [(q.question, q.answer) for q in chinese] == [
        ("有结节影吗？", "无"),
        ("胸片正常吗？", "是"),
        ("有什么异常？", "未见异常"),
    ]


def test_questions_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = questions_about("a", {"Nodule": 1.0}, {}, "en") + questions_about("b", {"Nodule": 0.0}, {}, "zh")
    write_questions(tmp_path / "q.jsonl", made)
    assert read_questions(tmp_path / "q.jsonl") == made


def test_kind_language_and_spelling_are_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [("Is there a mass?", "Yes."), ("Where is it?", "Left  Lung"), ("有气胸吗？", "无。")]
    path.write_text(
        "\n".join(json.dumps({"image_id": "a", "question": q, "answer": a}) for q, a in rows) + "\n\n",
        encoding="utf-8",
    )
    read = [(q.answer, q.kind, q.lang) for q in read_questions(path)]
    assert read == [("yes", "closed", "en"), ("left lung", "open", "en"), ("无", "closed", "zh")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image_id": "a", "question": "x?"}', "line 1 is no question"),
        ('{"image_id": "a", "question": "x?", "answer": " . "}', "is empty"),
        ('{"image_id": "a", "question": "x?", "answer": "y", "kind": "odd"}', "unknown kind or lang"),
        ('{"image_id": "a", "question": "x?", "answer": "y", "lang": "fr"}', "languages: en, zh"),
        ("not json", "line 1 is no question"),
        ("", "holds no question"),
    ],
)
def test_a_line_that_is_no_question_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=said):
        read_questions(path)


def test_open_and_closed_questions_are_scored_apart() -> None:
    asked = [
        question("yes"),
        question("no"),
        question("left", "open", "Where?"),
        question("odd", "open", "Where?"),
    ]
    train = [question("yes"), question("yes"), question("no"), question("left", "open", "Where?")]
    answers, frequent = answers_of(train), most_frequent(train)
    assert answers == ("yes", "left", "no")
    panel = answer_panel(asked, ["yes", "yes", "left", "left"], answers, frequent)
    scores = panel.values(["a", "b", "c", "d"], resamples=0, seed=0)
    assert {row: values["accuracy"].value for row, values in scores.items()} == {
        "all": 0.5,
        "closed": 0.5,
        "open": 0.5,
    }
    assert scores["closed"]["most frequent"].value == 0.5
    assert scores["open"]["answerable"].value == 0.5
    assert scores["open"]["accuracy"].n == 2


def test_who_does_not_look_answers_by_the_question_then_by_its_kind() -> None:
    frequent = most_frequent(
        [question("no"), question("no", asked="Is there air?"), question("yes", asked="Is there fluid?")]
    )
    assert guess(question("yes", asked="Is there fluid?"), frequent) == "yes"
    assert guess(question("yes", asked="Is there a tube?"), frequent) == "no"
    assert guess(question("是", asked="有吗？", lang="zh"), frequent) == ""
