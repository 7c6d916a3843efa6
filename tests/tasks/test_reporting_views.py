"""Reports about studies of one or two images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from xraytk.chance import Chance
from xraytk.data.made import taken
from xraytk.errors import UsageError
from xraytk.models import vocabularies
from xraytk.models.language import DecoderConfig
from xraytk.models.r2gen import MemoryConfig
from xraytk.models.search import GREEDY, SearchConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch, SecondView
from xraytk.tasks.attention import AttentionConfig, Term, TermMap, laid
from xraytk.tasks.reporting import ReportTask

MakeBatch = Callable[..., Batch]
Texts = dict[str, list[str]]
KINDS = ("plain", "r2gen", "cmn")


def made(texts: Texts, kind: Any = "plain", views: int = 2) -> ReportTask:
    torch.manual_seed(0)
    return ReportTask(
        VitConfig(image_px=32, patch_px=8, width=32, depth=1, heads=4),
        DecoderConfig(
            kind=kind,
            width=32,
            depth=1,
            heads=4,
            max_tokens=20,
            min_count=1,
            dropout=0.0,
            memory=MemoryConfig(rows=64, top_k=8, image_dropout=0.0),
        ),
        vocabularies.build("words", texts, ("en", "zh"), 1),
        ("en", "zh"),
        views=views,
    )


def study(batch: Batch, there: Sequence[bool] | None = None) -> Batch:
    """Studies whose findings are to be seen on their second images alone: the first are all alike."""
    count = len(batch.image)
    seen = torch.ones(count, dtype=torch.bool) if there is None else torch.tensor(there)
    second = SecondView(
        image=batch.image * seen[:, None, None, None],
        valid=batch.valid & seen[:, None, None],
        there=seen,
        image_id=[f"second{i}" if yes else "" for i, yes in enumerate(seen)],
        view=["LATERAL" if yes else "" for yes in seen],
        shape=[(32, 32)] * count,
    )
    return dataclasses.replace(batch, image=torch.full_like(batch.image, 60), second=second)


@pytest.mark.parametrize(("kind", "steps"), [("plain", 110), ("r2gen", 60), ("cmn", 60)])
def test_findings_on_the_second_image_alone_are_learned_by_heart(
    make_batch: MakeBatch, texts: Texts, kind: str, steps: int
) -> None:
    task, batch, rng = made(texts, kind), study(make_batch(4)), Chance(0)
    batch.reports["zh"] = [""] * 4
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        task(batch, rng).total.backward()
        optimizer.step()
    for search in (GREEDY, SearchConfig(beam=3)):
        assert [p.text for p in task.predict(batch, "en", search)] == texts["en"]
    blind = task.predict(dataclasses.replace(batch, second=None), "en", GREEDY)
    assert len({p.text for p in blind}) == 1  # the first images are all alike


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_of_one_image_is_that_image_alone_whatever_its_neighbours_have(
    make_batch: MakeBatch, texts: Texts, kind: str
) -> None:
    task, four = made(texts, kind).eval(), make_batch(4)
    mixed = study(four, [True, False, True, False])
    single = dataclasses.replace(mixed, second=None)
    tokens = torch.tensor([task.vocabulary.encode(text, "zh", 20)[:4] for text in four.reports["zh"]])
    of_mixed = task.decoder(tokens, *task.look(mixed))
    of_single = task.decoder(tokens, *task.look(single))
    torch.testing.assert_close(of_mixed[1::2], of_single[1::2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(of_mixed[::2], of_single[::2], atol=1e-3)
    assert mixed.second is not None
    other = dataclasses.replace(mixed.second, image=mixed.second.image.clone())
    other.image[1::2] = 255
    other = dataclasses.replace(other, valid=torch.ones_like(other.valid))
    again = task.decoder(tokens, *task.look(dataclasses.replace(mixed, second=other)))
    torch.testing.assert_close(again[1::2], of_mixed[1::2], rtol=1e-4, atol=1e-5)
    texts_of = [[p.text for p in task.predict(b, "en", GREEDY)] for b in (mixed, single)]
    assert texts_of[0][1::2] == texts_of[1][1::2]


def test_the_tokens_are_those_of_each_image_one_after_the_other(make_batch: MakeBatch, texts: Texts) -> None:
    task, batch = made(texts).eval(), make_batch(3)
    batch.valid[:, :, 24:] = False
    pair = study(batch, [True, True, False])
    memory, seen = task.look(pair)
    alone = [
        task.look(dataclasses.replace(pair, image=image, second=None))[0]
        for image in (pair.image, batch.image)
    ]
    assert (memory.shape, seen.shape) == ((3, 34, 32), (3, 34))
    torch.testing.assert_close(memory[:, :17], alone[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(memory[:2, 17:], alone[1][:2], rtol=1e-4, atol=1e-5)
    assert seen[0].sum() == 2 * 13
    assert torch.equal(seen[0, :17], seen[0, 17:])
    assert not seen[2, 17:].any()


@pytest.mark.parametrize(
    ("kind", "search"),
    [*[(kind, SearchConfig(beam=3)) for kind in KINDS], ("plain", SearchConfig(beam=1, sample=True, seed=4))],
)
def test_cached_is_uncached_about_two_images_too(
    make_batch: MakeBatch, texts: Texts, kind: str, search: SearchConfig
) -> None:
    task, batch = made(texts, kind), study(make_batch(4), [True, False, True, True])
    plain = dataclasses.replace(search, cached=False)
    cached, uncached = ([p.text for p in task.predict(batch, "en", s)] for s in (search, plain))
    assert cached == uncached
    lone = [task.predict(taken(batch, [i]), "en", search)[0].text for i in range(4)]
    assert cached == lone  # whatever else is in the batch


def test_a_model_of_one_view_refuses_a_second_image_and_names_why(
    make_batch: MakeBatch, texts: Texts
) -> None:
    with pytest.raises(UsageError, match="trained on single ones"):
        made(texts, views=1).predict(study(make_batch(2)), "en")


def test_views_go_with_the_model_and_one_without_them_looks_at_one(texts: Texts, tmp_path: Any) -> None:
    task = made(texts)
    task.vocabulary.save(tmp_path / "tokenizer.json")
    again = ReportTask.rebuild(task.describe(), tmp_path)
    assert (again.views, "second" in again.needs, "second" in ReportTask.needs) == (2, True, False)
    old = {key: value for key, value in task.describe().items() if key != "views"}
    assert ReportTask.rebuild(old, tmp_path).views == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_term_has_a_map_over_both_images_of_sum_one(make_batch: MakeBatch, texts: Texts, kind: str) -> None:
    task, batch = made(texts, kind), make_batch(2)
    batch.valid[:, 24:] = False
    found = task.attend(
        study(batch, [True, False]), ["右侧胸腔积液。", "右侧胸腔积液。"], "zh", AttentionConfig()
    )
    for (one,), patches in zip(found, (24, 12), strict=True):
        assert (one.grid.shape, one.views) == ((8, 4), 2)
        assert one.grid.sum() == pytest.approx(1, abs=1e-5)
        assert one.valid.sum() == patches
        assert not one.grid[~one.valid].any()
    assert found[0][0].grid[4:].sum() > 0.1


def test_the_map_of_the_second_image_lies_on_the_second_image() -> None:
    grid, valid = np.zeros((8, 4), np.float32), np.ones((8, 4), np.bool_)
    grid[5, 2], grid[0, 0] = 0.75, 0.25
    one = TermMap(Term("x", 0, 1, ("Edema",), "present"), grid, valid, 2)
    first, second = (laid(one, 32, "stretch", (32, 32), view) for view in (0, 1))
    assert np.unravel_index(second.argmax(), second.shape) == (11, 19)
    assert second.max() == pytest.approx(1, abs=0.15)
    assert first.max() == pytest.approx(1 / 3, abs=0.05)
