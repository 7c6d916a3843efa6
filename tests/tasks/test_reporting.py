from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from xraytk.chance import Chance
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.r2gen import MemoryConfig
from xraytk.models.search import GREEDY, SearchConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch
from xraytk.tasks.reporting import ReportTask

MakeBatch = Callable[..., Batch]
Texts = dict[str, list[str]]


@pytest.fixture
def make_task(texts: Texts) -> Callable[..., ReportTask]:
    return functools.partial(made_task, texts)


def made_task(texts: Texts, *, frozen: bool = False, kind: Any = "plain", words: str = "words") -> ReportTask:
    torch.manual_seed(0)
    return ReportTask(
        VitConfig(image_px=32, patch_px=8, width=32, depth=2, heads=4),
        DecoderConfig(
            kind=kind,
            width=32,
            depth=2,
            heads=4,
            max_tokens=20,
            min_count=1,
            dropout=0.0,
            memory=MemoryConfig(rows=64, top_k=8, image_dropout=0.0),
        ),
        vocabularies.build(words, texts, langs := ("en", "zh") if words == "words" else ("en",), 1),
        langs,
        frozen=frozen,
    )


@pytest.mark.parametrize("kind", ["plain", "r2gen", "cmn"])
def test_a_tiny_model_learns_eight_samples_in_both_languages_by_heart(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts, kind: str
) -> None:
    task, batch, rng = make_task(kind=kind), make_batch(), Chance(0)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(100 if kind == "r2gen" else 150):
        optimizer.zero_grad()
        task(batch, rng).total.backward()
        optimizer.step()
    for lang, wanted in texts.items():
        for beam in (1, 3):
            predictions = task.predict(batch, lang, SearchConfig(beam=beam))
            assert [p.text for p in predictions] == wanted * 2
        scores = task.score(predictions, lang, resamples=10)
        assert scores["bleu_4" if lang == "zh" else "bleu_2"].value == pytest.approx(1)
    assert task.validate([batch])["score"] > 0.99
    assert task.training


def test_the_score_is_the_mean_over_languages_of_bleu_4_and_rouge_l(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch
) -> None:
    task, batch, rng = make_task(), make_batch(), Chance(0)
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        task(batch, rng).total.backward()
        optimizer.step()
    found = task.validate([batch])
    fours, rouges = ([found[f"{name}_{lang}"] for lang in ("en", "zh")] for name in ("bleu_4", "rouge_l"))
    assert found["score"] == pytest.approx((sum(fours) + sum(rouges)) / 4)
    assert sum(rouges) > sum(fours) + 0.1  # some words are right, runs of four are not


def test_the_loss_is_the_mean_over_the_tokens_of_both_languages(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task, batch, rng = make_task(), make_batch(), Chance(0)
    both = task(batch, rng)
    one = {
        lang: task(dataclasses.replace(batch, reports={**batch.reports, other: [""] * 8}), rng).total.item()
        for lang, other in (("en", "zh"), ("zh", "en"))
    }
    tokens = {
        lang: sum(len(task.vocabulary.encode(t, lang, 20)) - 1 for t in batch.reports[lang]) for lang in one
    }
    mean = sum(one[lang] * tokens[lang] for lang in one) / sum(tokens.values())
    assert both.total.item() == pytest.approx(mean, rel=1e-5)
    assert {name: part.item() for name, part in both.parts.items()} == pytest.approx(
        {f"loss_{lang}": value for lang, value in one.items()}, rel=1e-5
    )


def test_a_batch_without_reports_costs_nothing_and_reaches_every_weight(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task = make_task()
    batch = dataclasses.replace(make_batch(2), reports={"en": ["", " "], "zh": ["", ""]})
    loss = task(batch, Chance(0))
    loss.total.backward()
    assert loss.total.item() == 0
    assert loss.parts == {}
    assert all(p.grad is not None and not p.grad.any() for p in task.parameters())


def test_samples_without_a_reference_are_written_but_not_scored(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task = make_task()
    batch = make_batch(2)
    batch.reports["zh"] = ["", texts["zh"][1]]
    predictions = task.predict(batch, "zh", GREEDY)
    assert len(predictions) == 2
    assert task.score(predictions, "zh", resamples=0)["bleu_1"].n == 1


def test_padding_of_the_letterbox_changes_nothing(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task, batch = make_task().eval(), make_batch(2)
    batch.valid[:, :, 24:] = False
    other = dataclasses.replace(batch, image=batch.image.clone())
    other.image[:, :, :, 24:] = 255
    rng = Chance(0)
    assert task(batch, rng).total.item() == pytest.approx(task(other, rng).total.item(), rel=1e-5)


def test_a_frozen_encoder_gets_no_gradient(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task = make_task(frozen=True)
    task(make_batch(2), Chance(0)).total.backward()
    assert all(p.grad is None for p in task.encoder.parameters())
    assert all(p.grad is not None for p in task.decoder.parameters())


def test_one_image_alone_is_enough(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    assert len(make_task().predict(make_batch(1), "en")) == 1


def test_with_r2gens_tokenizer_the_end_is_learned_though_it_has_the_number_of_padding(
    make_task: Callable[..., ReportTask], make_batch: MakeBatch, texts: Texts
) -> None:
    task, batch = make_task(kind="r2gen", words="r2gen"), make_batch(2)
    batch.reports["en"] = ["Clear.", "The heart is not enlarged."]
    _, _, tokens, targets = task._written(batch)
    assert tokens[0].tolist()[-3:] == [0, 0, 0]
    assert (targets[0] == 0).sum() == (targets[1] == 0).sum() == 1
    assert targets[0].tolist()[3:] == [-100] * (targets.shape[1] - 3)
    task(batch, Chance(0)).total.backward()
    assert all(p.grad is not None for p in task.parameters())
