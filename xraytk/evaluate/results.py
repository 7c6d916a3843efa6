"""What ``xraytk evaluate`` returns and prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xraytk.tasks.metrics.compare import Difference
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.scoring import grid

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RunScores:
    """Scores of one run, or of one file of predictions.

    Args:
        run: Run folder; the predictions.
        task: "report", "classify" or another task's name.
        images: Images that were scored.
        scores: By language, splitting or label ("macro" is their mean), then by metric.
        protocol: All that a score depends on besides the model; its "fingerprint" tells
            whether two numbers can be compared.
        files: What was written.
        findings: Of reports, what the labeller read: by finding and mean, then by metric.
        notes: What a reader has to know: what was left out, what is absent and why.
    """

    run: Path
    task: str
    images: int
    scores: Scores
    protocol: dict[str, Any]
    files: tuple[Path, ...]
    findings: Scores = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """Scores of all runs, or of one file.

    Args:
        split: What was scored; "" for files.
        runs: One entry a run.
        seconds: Time of this call.
    """

    split: str
    runs: tuple[RunScores, ...]
    seconds: float

    def lines(self) -> list[str]:
        """Return a table a run for people to read: score and 95 % interval over patients."""
        out = []
        for scored in self.runs:
            where = f"{self.split} split, " if self.split else ""
            out += ["", f"{scored.run.name}, {where}{scored.images:,} images: {scored.run}"]
            out += grid.of_scores(scored.task, _shown(scored.scores)).lines()
            if scored.findings:
                out += grid.of_scores("findings read by rules", scored.findings).lines()
            out += [f"note: {note}" for note in scored.notes]
            out += _told(scored.protocol)
            out += [f"  {path}" for path in scored.files]
        return out


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Two systems on the same images.

    Args:
        names: Of both.
        task: "report" or "classify".
        images: That both predicted.
        tables: By name (of the language, of the table), by row, by metric.
        protocol: All that the numbers depend on.
        notes: What a reader has to know.
        files: What was written.
        seconds: Time of this call.
    """

    names: tuple[str, str]
    task: str
    images: int
    tables: dict[str, dict[str, dict[str, Difference]]]
    protocol: dict[str, Any]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    seconds: float

    def lines(self) -> list[str]:
        """Return the differences for people to read."""
        both = f"{self.names[0]} and {self.names[1]}"
        out = [f"{both}, the same {self.images:,} images; difference: first minus second"]
        for name, table in self.tables.items():
            out += grid.of_differences(name, table, self.names).lines()
        out += [f"note: {note}" for note in self.notes]
        return [*out, *_told(self.protocol), *(f"  {path}" for path in self.files)]


def _shown(scores: Scores) -> Scores:
    """The columns that fit a terminal; the files have all."""
    hidden = {"sensitivity", "specificity", "precision", "specificity_at", "brier"}
    return {row: {m: v for m, v in values.items() if m not in hidden} for row, values in scores.items()}


def _told(protocol: dict[str, Any]) -> Sequence[str]:
    kind = protocol.get("protocol")
    said = protocol.get("thresholds", {})
    each = said if isinstance(said, Mapping) else {"": said}
    lines = [f"thresholds{f' of {name}' if name else ''}: {text}" for name, text in each.items()]
    return [*lines, f"protocol {f'{kind}, ' if kind else ''}{protocol['fingerprint']}"]
