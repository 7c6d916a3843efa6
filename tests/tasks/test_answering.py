from __future__ import annotations

import pytest
import torch

from xraytk.chance import Chance
from xraytk.errors import UsageError
from xraytk.models.text_encoder import TextConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch
from xraytk.tasks.answering import VqaConfig, VqaTask
from xraytk.tasks.fused import with_words
from xraytk.tasks.language.questions import Question, answers_of

VIT = VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=2)
TEXT = TextConfig(width=32, depth=1, heads=2, max_tokens=12, dropout=0.0)
CONFIG = VqaConfig(width=32, depth=2, heads=2, text=TEXT)
ASKED = [
    Question(name, asked, answer, "closed", "en")
    for name, first in (("a", "yes"), ("b", "no"))
    for asked, answer in (("Is it bright?", first), ("Is it dark?", "no" if first == "yes" else "yes"))
]


def batch(*names: str) -> Batch:
    torch.manual_seed(3)
    grey = {"a": 250, "b": 5}
    image = torch.stack([torch.full((1, 32, 32), grey.get(name, 90), dtype=torch.uint8) for name in names])
    count = len(names)
    return Batch(
        image=image,
        valid=torch.ones(count, 32, 32, dtype=torch.bool),
        lung=torch.zeros(count, 32, 32, dtype=torch.bool),
        has_contour=torch.zeros(count, dtype=torch.bool),
        labels=torch.zeros(count, 0),
        reports={"en": [""] * count, "zh": [""] * count},
        image_id=list(names),
        patient_hash=list(names),
        view=["PA"] * count,
    )


def task(**more: object) -> VqaTask:
    torch.manual_seed(0)
    return VqaTask(VIT, CONFIG, with_words(None, ASKED), answers_of(ASKED), **more).ask(ASKED)  # type: ignore[arg-type]


def test_the_answer_depends_on_image_and_question() -> None:
    made, both = task(), batch("a", "b")
    optimizer = torch.optim.AdamW(made.parameters(), lr=2e-3)
    for step in range(60):
        loss = made(both, Chance(0, step))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert [one.answer for one in made.predict(both)] == ["yes", "no", "no", "yes"]
    assert made.validate([both]) == {"accuracy": 1.0, "closed": 1.0, "score": 1.0}


def test_images_without_a_question_cost_nothing_and_say_nothing() -> None:
    made = task()
    total = made(batch("x", "y"), Chance(0)).total
    total.backward()
    assert total.item() == 0
    assert [n for n, p in made.named_parameters() if p.grad is None or bool(p.grad.any())] == []
    assert made.predict(batch("x")) == []
    assert made.validate([batch("x")]) == {}


def test_every_parameter_gets_a_gradient_and_a_frozen_encoder_none() -> None:
    made = task()
    made(batch("a", "b"), Chance(0)).total.backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.any())] == []
    still = task(frozen=True)
    still(batch("a", "b"), Chance(0)).total.backward()
    assert all(p.grad is None for p in still.encoder.parameters())


def test_an_image_is_asked_some_of_its_questions_and_none_twice() -> None:
    made = task()
    rows, asked = made._draw(batch("a", "x", "b"), Chance(1))
    assert rows == [0, 0, 2, 2]
    assert len({(row, q.question) for row, q in zip(rows, asked, strict=True)}) == 4


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match=r"vqa\.each is 0"):
        VqaConfig(each=0)
    with pytest.raises(UsageError, match=r"wanted a multiple of vqa\.heads"):
        VqaConfig(width=30, heads=4)
