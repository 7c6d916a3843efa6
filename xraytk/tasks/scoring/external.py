"""Scores of other people's models: RadGraph, CheXbert, GREEN, RadEval's, or any function of yours.

They are run only when asked for, need packages and weights of their own, and are never
replaced: where one cannot run, the reason stands in its place.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xraytk.errors import UsageError
from xraytk.tasks.metrics.bootstrap import summarise
from xraytk.tasks.metrics.values import Floats, Value, absent

Each = Callable[[Sequence[str], Sequence[str]], dict[str, list[float]]]
"""From hypotheses and references to the values of every pair, by name of the score."""


@dataclass(frozen=True, slots=True)
class Known:
    """A package that scores reports.

    Args:
        module: What is imported.
        install: How to get it, and its weights.
        each: Calls it.
    """

    module: str
    install: str
    each: Each


def _radgraph(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    module = importlib.import_module("radgraph")
    scorer = module.F1RadGraph(reward_level="all", model_type="modern-radgraph-xl")
    _, rewards, _, _ = scorer(hyps=list(hypotheses), refs=list(references))
    names = ("radgraph_simple", "radgraph_partial", "radgraph_complete")
    return {name: [float(x) for x in values] for name, values in zip(names, rewards, strict=True)}


def _green(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    module = importlib.import_module("green_score")
    scorer = module.GREEN("StanfordAIMI/GREEN-radllama2-7b", output_dir=".")
    _, _, each, _, _ = scorer(list(references), list(hypotheses))
    return {"green": [float(x) for x in each]}


def _radeval(metric: str) -> Each:
    """One of RadEval's scores, of every pair."""

    def each(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
        module = importlib.import_module("radeval")
        scorer = module.RadEval(metrics=[metric], per_sample=True, show_progress=False)
        found = scorer(refs=list(references), hyps=list(hypotheses))
        low = " (lower is better)" if metric in DISTANCES else ""
        return {f"radeval {key}{low}": [float(x) for x in values] for key, values in found.items()}

    return each


def chexbert(texts: Sequence[str]) -> list[dict[str, int | None]] | str:
    """Label reports with CheXbert, or say why it cannot; a blank report speaks of nothing.

    Args:
        texts: Reports, English.

    Returns:
        For each report: finding to 1, 0, -1 (uncertain) or None.
    """
    install = "pip install f1chexbert; it fetches chexbert.pth from Hugging Face at first use"
    if importlib.util.find_spec("f1chexbert") is None:
        return f"absent: no package f1chexbert ({install})"
    try:
        scorer = importlib.import_module("f1chexbert").F1CheXbert()
        names: list[str] = scorer.target_names
        none: dict[str, int | None] = dict.fromkeys(names)
        return [
            dict(zip(names, map(_state, scorer.get_label(t.strip(), mode="classification")), strict=True))
            if t.strip()
            else none
            for t in texts
        ]
    except Exception as error:  # whatever another package raises; its text may hold a report
        return f"absent: f1chexbert is installed and failed ({type(error).__name__}); {install}"


def _state(value: int | str) -> int | None:
    return None if value == "" else int(value)


RADEVAL = (
    "bertscore", "bleu", "f1chexbert", "green", "radcliq", "radeval_bertscore", "radgraph", "ratescore",
    "rouge", "srrbert", "temporal",
)  # fmt: skip
"""Scores of RadEval that run on this machine; its others send reports to a company's server."""
DISTANCES = ("radcliq",)
"""Those of which RadEval gives a distance for every pair."""
_RADEVAL_INSTALL = "pip install radeval; it fetches the model of the score from Hugging Face at first use"
KNOWN = {
    "radgraph": Known(
        "radgraph",
        "pip install radgraph, in an environment with the transformers version it asks for; it fetches "
        "modern-radgraph-xl from Hugging Face at first use",
        _radgraph,
    ),
    "green": Known(
        "green_score",
        "pip install green-score; it fetches StanfordAIMI/GREEN-radllama2-7b (7 billion parameters) "
        "from Hugging Face at first use, and wants a GPU",
        _green,
    ),
    **{f"radeval:{metric}": Known("radeval", _RADEVAL_INSTALL, _radeval(metric)) for metric in RADEVAL},
}


def score(
    names: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Value]:
    """Run the scores that are asked for; their mean over the pairs, with intervals over patients.

    Args:
        names: Some of `KNOWN`, or "package.module:function" of the same shape as `Each`.
        hypotheses: n texts.
        references: n texts.
        patients: n patients.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UsageError: If a name is none of them.
    """
    out: dict[str, Value] = {}
    for name in names:
        each = _find(name)
        if isinstance(each, str):
            out[name] = absent(each, len(references))
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):  # ours holds the result and nothing else
                values = each(hypotheses, references)
        except Exception as error:  # whatever another package raises; its text may hold a report
            todo = f"; {KNOWN[name].install}" if name in KNOWN else ""
            out[name] = absent(
                f"absent: {name} is installed and failed ({type(error).__name__}){todo}", len(references)
            )
            continue
        for key, numbers in values.items():
            (out[key],) = summarise(
                _mean(np.asarray(numbers, float)), patients, resamples=resamples, seed=seed
            )
    return out


def _find(name: str) -> Each | str:
    """The function behind a name, or why there is none."""
    if name in KNOWN:
        known = KNOWN[name]
        if importlib.util.find_spec(known.module) is None:
            return f"absent: no package {known.module} ({known.install})"
        return known.each
    module, _, function = name.partition(":")
    if not function or module == "radeval":
        raise UsageError(
            f"there is no score {name!r}", f"wanted {', '.join(KNOWN)}, chexbert, or package.module:function"
        )
    try:
        found: Each = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {name}", str(error)) from None
    return found


def _mean(values: Floats) -> Callable[[Floats], Floats]:
    return lambda weights: (weights @ values / weights.sum(axis=1))[:, None]
