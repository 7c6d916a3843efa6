"""``xraytk evaluate``: finetuned runs, anybody's predictions, or two results side by side.

- ``settings``, ``results``: the Config and the Results.
- ``workspace``: runs of the workspace on images they never saw. Needs torch.
- ``probes``: frozen encoders on the workspace's labels. Needs torch too.
- ``language``: pretrainings that have read reports: ``retrieval``, ``zero_shot``, ``grounding`` by
  ``towers``. Need torch too.
- ``similar``: neighbours by a frozen encoder.
- ``answers``: finetuned question answering, for ``workspace``.
- ``files``: predictions and references as files.
- ``versus``: two results on the same images.
"""

from __future__ import annotations

from xraytk.evaluate.results import CompareResult, EvaluateResult, RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.progress import Progress, Silent
from xraytk.tasks.language import LANGUAGE_TASKS
from xraytk.tasks.probe import PROBES
from xraytk.tasks.scoring import given

__all__ = ["CompareResult", "EvaluateConfig", "EvaluateResult", "RunScores", "run"]


def run(config: EvaluateConfig, progress: Progress | None = None) -> EvaluateResult | CompareResult:
    """Score what the settings name.

    Args:
        config: Settings.
        progress: Where to report to.

    Raises:
        DataError: If there is nothing to score, or the input is not what it should be.
        RunConflictError: If the test split would be read a second time with other settings.
    """
    progress = progress or Silent()
    if config.groups is not None:
        given.read(config.groups)  # a wrong one is said before hours of work
    if config.against is not None:
        from xraytk.evaluate import versus

        return versus.run(config)
    if config.predictions is not None:
        from xraytk.evaluate import files

        return files.run(config)
    if config.task in PROBES:
        from xraytk.evaluate import probes

        return probes.run(config, progress)
    if config.task == "similar":
        from xraytk.evaluate import similar

        return similar.run(config, progress)
    if config.task in LANGUAGE_TASKS:
        from xraytk.evaluate import language

        return language.run(config, progress)
    from xraytk.evaluate import workspace

    return workspace.run(config, progress)
