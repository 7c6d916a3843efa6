"""METEOR 1.5 through its own Java program, where Java and the jar are there.

It is never replaced by another program of that name: the values differ (0.44 and 0.80 on the
same reports). Where it cannot run, `find` says why.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xraytk.errors import MachineError
from xraytk.tasks.metrics.values import Floats, ratio

JAR = "meteor-1.5.jar"
VARIABLE = "XRAYTK_METEOR_JAR"
TABLE = "data/paraphrase-en.gz"
NUMBERS = 23
"""Statistics of a pair, as the jar prints them."""

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""Weights of exact, stem, synonym and paraphrase matches; all as the jar has them for English."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where METEOR is, or why it cannot run.

    Args:
        java: The program.
        jar: The jar.
        absent: "" when both are there.
    """

    java: str = ""
    jar: Path = Path()
    absent: str = ""


def find() -> Found:
    """Look for Java, and for the jar: ``$XRAYTK_METEOR_JAR``, else in pycocoevalcap."""
    java = shutil.which("java")
    named = os.environ.get(VARIABLE)
    if named:
        jar = Path(named)
    else:
        spec = importlib.util.find_spec("pycocoevalcap")
        places = list(spec.submodule_search_locations or ()) if spec else []
        jar = Path(places[0]) / "meteor" / JAR if places else Path(JAR)
    lacking = []
    if java is None:
        lacking.append("no Java (install a Java runtime)")
    if not jar.is_file():
        lacking.append(f"no {JAR} (set {VARIABLE}, or install pycocoevalcap)")
    elif not (jar.parent / TABLE).is_file():
        lacking.append(f"no {TABLE} beside {JAR}")
    return Found(java or "", jar, "; ".join(lacking))


def statistics(hypotheses: Sequence[str], references: Sequence[str], found: Found) -> Floats:
    """Let the jar align n pairs.

    Args:
        hypotheses: n texts, tokens apart by spaces.
        references: n texts.
        found: Of `find`.

    Returns:
        (n, 23); a pair that is the same from start to end has no chunks, because the jar does
        not count its one chunk in a corpus.

    Raises:
        MachineError: If the program fails or answers something else.
    """
    lines = [f"SCORE ||| {_line(r)} ||| {_line(h)}" for h, r in zip(hypotheses, references, strict=True)]
    answer = _ask(lines, found)
    try:
        table = np.array([[float(x) for x in line.split()] for line in answer], dtype=np.float64)
    except ValueError:
        table = np.empty((0, 0))
    if table.shape != (len(lines), NUMBERS):
        raise MachineError(
            f"{JAR} did not answer as expected",
            f"wanted {len(lines)} lines of {NUMBERS} numbers, found {len(answer)} lines",
            "Is it METEOR 1.5? Run with --set meteor=false to leave it out.",
        )
    whole = (table[:, 21] == table[:, 0]) & (table[:, 22] == table[:, 1]) & (table[:, 20] == 1)
    table[whole, 20] = 0
    return table


def evaluate(stats: Floats, found: Found) -> tuple[Floats, float]:
    """Scores of each pair and of the corpus by the jar itself, to check `score` with."""
    said = " ||| ".join(" ".join(str(x) for x in row) for row in stats)
    numbers = [float(line) for line in _ask([f"EVAL ||| {said}"], found)]
    return np.array(numbers[:-1]), numbers[-1]


def score(stats: Floats) -> Floats:
    """METEOR from summed statistics.

    Args:
        stats: (R, 23), rows of `statistics` summed over a corpus.

    Returns:
        (R,) in [0, 1].

    Source:
        Denkowski and Lavie 2014; parameters and order of the statistics as in the jar.
    """
    length, function = stats[:, [0, 1]], stats[:, [2, 3]]  # of hypothesis, of reference
    stages = stats[:, 4:20].reshape(-1, 4, 4)  # (R, stage, content hyp, content ref, function hyp, ref)
    content, filled = STAGES @ stages[:, :, :2], STAGES @ stages[:, :, 2:]
    share = ratio(
        DELTA * content + (1 - DELTA) * filled, DELTA * (length - function) + (1 - DELTA) * function
    )
    precision, recall = np.nan_to_num(share).T
    mean = np.nan_to_num(ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall))
    matched = (stats[:, 21] + stats[:, 22]) / 2
    pieces = np.nan_to_num(ratio(stats[:, 20], matched))
    return np.asarray(mean * (1 - GAMMA * pieces**BETA), dtype=np.float64)


def _line(text: str) -> str:
    return " ".join(text.replace("|||", " ").split())


def _ask(lines: Sequence[str], found: Found) -> list[str]:
    """Run the jar once on all lines, in a locale that writes 0.5 with a point."""
    command = [
        *(found.java, "-Xmx2G", "-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8"),
        *("-jar", str(found.jar), "-", "-", "-stdio", "-l", "en", "-norm"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 (our own words; the texts go through standard input)
            command,
            input="".join(f"{line}\n" for line in lines).encode(),
            capture_output=True,
            check=True,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(
            f"{JAR} could not be run", type(error).__name__, "Run with --set meteor=false to leave it out."
        ) from None
    return [line for line in done.stdout.decode("utf-8", "replace").splitlines() if line.strip()]
