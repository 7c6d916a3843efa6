from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from xraytk.chance import Chance
from xraytk.errors import UsageError
from xraytk.models.dense import DenseConfig
from xraytk.models.vit import VitConfig
from xraytk.records import Batch, Box
from xraytk.tasks.detection import DetectConfig, DetectTask
from xraytk.tasks.segmentation import SegmentTask, soft_dice

VIT = VitConfig(image_px=32, patch_px=8, width=16, depth=1, heads=2)
DENSE = DenseConfig(layers=1, width=32, cells=8, detail=0)
SQUARE = np.array([[3.0, 3], [12, 3], [12, 12], [3, 12]])


def detector(**more: object) -> DetectTask:
    return DetectTask(VIT, DENSE, DetectConfig(**more), ["Mass", "Nodule"])  # type: ignore[arg-type]


def drawn(batch: Batch, boxes: list[list[Box]], labels: list[list[float]]) -> Batch:
    count = len(boxes)
    return replace(batch, boxes=boxes, labels=torch.tensor(labels), shape=[(32, 32)] * count)


def test_what_is_not_drawn_is_absent_only_where_somebody_says_so(make_batch: Callable[..., Batch]) -> None:
    nan, mass = float("nan"), Box("Mass", 2, 2, 9, 9)
    batch = drawn(
        make_batch(5),
        [[mass], [mass], [], [], []],
        [[1, nan], [1, 1], [0, nan], [1, 0], [nan, nan]],
    )
    wanted = [[True, True], [True, False], [True, False], [False, True], [False, False]]
    assert detector().known(batch).tolist() == wanted
    assert detector(unmentioned="absent").known(batch).tolist()[4] == [True, True]
    assert detector(unmentioned="absent").known(batch).tolist()[3] == [False, True]


def test_an_image_of_which_nothing_is_known_teaches_nothing(make_batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    task = detector()
    batch = drawn(make_batch(2), [[], []], [[float("nan")] * 2] * 2)
    assert float(task(batch, Chance(0)).total.detach()) == 0
    segment = SegmentTask(VIT, DENSE, ["right_lung"])
    bare = replace(make_batch(2), outlines=[{}, {"heart": [SQUARE]}], shape=[(32, 32)] * 2)
    assert float(segment(bare, Chance(0)).total.detach()) == 0


def test_boxes_of_one_finding_do_not_repeat_each_other(make_batch: Callable[..., Batch]) -> None:
    torch.manual_seed(0)
    task = detector()
    torch.nn.init.constant_(task.dense.output.bias[:2], 2.0)  # sure of everything, everywhere
    [one] = task.predict(drawn(make_batch(1), [[]], [[0, 0]]))
    assert one.found
    assert list(one.scores) == sorted(one.scores, reverse=True)
    for box in one.found:
        assert 0 <= box.x0 < box.x1 <= 32
        assert 0 <= box.y0 < box.y1 <= 32


def test_soft_dice_of_whole_masks_is_dice() -> None:
    a, b = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)
    a[..., :16], b[..., 8:32] = 1, 1
    assert float(soft_dice(a, b)) == pytest.approx(2 * 320 / (640 + 960), abs=1e-3)
    assert float(soft_dice(a * 0, b * 0)) == 1


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"unmentioned": "maybe"}, {"overlap": 0.0}, {"labels": ("Mass", "Mass")}):
        with pytest.raises(UsageError, match=r"detect\."):
            DetectConfig(**wrong)  # type: ignore[arg-type]
