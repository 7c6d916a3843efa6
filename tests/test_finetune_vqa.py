from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xraytk import evaluate, finetune, pretrain
from xraytk.config import build
from xraytk.errors import DataError, UsageError
from xraytk.progress import Silent
from xraytk.tasks.language.questions import questions_about, write_questions

sys.path.insert(0, str(Path(__file__).parent / "evaluate"))
from phantom_work import SIDE, TEXT, VIT, write_phantoms

M3AE = {
    "text": TEXT,
    "pixels": {"width": 32, "depth": 1, "heads": 2},
    "width": 32,
    "depth": 2,
    "heads": 2,
    "paint_after": 1,
}


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A workspace of phantoms, questions about them, and a short pretraining by m3ae."""
    work = tmp_path_factory.mktemp("vqa")
    phantoms = write_phantoms(work, extra=4)
    asked = []
    for number, phantom in enumerate(phantoms):
        sides = {f.name: f.side for f in phantom.findings if f.side}
        for lang in ("en", "zh"):
            asked += questions_about(
                f"{number:016x}", {k: float(v) for k, v in phantom.labels.items()}, sides, lang
            )
    write_questions(work / "questions.jsonl", asked)
    tree = {
        "work": str(work),
        "objective": "m3ae",
        "options": M3AE,
        "vit": VIT,
        "data": {"image_px": SIDE, "crop_scale": [1.0, 1.0], "rotate_deg": 0.0},
        "batch": 8,
        "steps": 2,
        "figure_every": 0,
        "machine": {"device": "cpu"},
    }
    pretrain.run(build(pretrain.PretrainConfig, tree), Silent())
    return SimpleNamespace(work=work, questions=work / "questions.jsonl", count=len(asked))


def settings(made: SimpleNamespace, **more: Any) -> finetune.FinetuneConfig:
    tree = {
        "work": str(made.work),
        "task": "vqa",
        "questions": str(made.questions),
        "vqa": {"each": 6},
        "optim": {"lr": 3e-3, "beta2": 0.98, "layer_decay": 1.0, "weight_decay": 0.0},
        "batch": 16,
        "steps": 2,
        "validate_every": 2,
        "save_every": 2,
        "machine": {"device": "cpu"},
    }
    return build(finetune.FinetuneConfig, {**tree, **more})


def test_a_fused_pretraining_goes_on_to_answers_that_are_scored_apart(made: SimpleNamespace) -> None:
    progress = Notes()
    done = finetune.run(settings(made), progress)
    said = " ".join(progress.notes)
    assert "text encoder and fusion: 102 tensors; 13 words of the questions are new" in said
    assert {"accuracy", "closed", "open"} < set(done.validation)
    result = evaluate.run(evaluate.EvaluateConfig(work=made.work, task="vqa", bootstrap=20))
    assert isinstance(result, evaluate.EvaluateResult)
    scored = result.runs[0]
    assert set(scored.scores) == {"all", "closed", "open", "en", "zh"}
    assert scored.scores["all"]["answerable"].value == 1  # the other splits have the same phantoms again
    assert scored.scores["all"]["most frequent"].value > 0.5
    lines = (done.run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == scored.scores["all"]["accuracy"].n
    assert {"question", "given", "answer", "kind", "guess"} < set(json.loads(lines[0]))


def test_what_cannot_be_asked_is_refused(made: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="questions are for vqa"):
        settings(made, questions=None)
    with pytest.raises(UsageError, match="questions are for vqa"):
        settings(made, task="classify")
    with pytest.raises(UsageError, match="the task is vqa"):
        settings(made, label_budget=0.5)
    other = tmp_path / "other.jsonl"
    other.write_text('{"image_id": "nobody", "question": "Is it?", "answer": "yes"}\n')
    with pytest.raises(DataError, match=r"no selected sample|asks nothing about an image of the train split"):
        finetune.run(settings(made, questions=str(other), name="other"), Silent())
