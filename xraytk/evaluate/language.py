"""The tasks of a model with an image tower and a text tower: which function scores which."""

from __future__ import annotations

import functools
import time

from xraytk.evaluate import grounding, retrieval, towers, zero_shot
from xraytk.evaluate.results import EvaluateResult
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.progress import Progress
from xraytk.train.launch import check_devices

SCORERS = {"retrieval": retrieval.score, "zero-shot": zero_shot.score, "grounding": grounding.score}


def run(config: EvaluateConfig, progress: Progress) -> EvaluateResult:
    """Score a pretraining on a task of `tasks.language`.

    Raises:
        DataError: If there is no such model, or no image to score.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    began = time.monotonic()
    check_devices(config.machine)
    split, done = towers.run(config, progress, functools.partial(SCORERS[config.task], config))
    return EvaluateResult(split, (done,), round(time.monotonic() - began, 1))
