"""BLEU, ROUGE-L and CIDEr-D beside pycocoevalcap: equal values, and the time of both.

    python benchmarks/metrics.py [--quick] [--json] [--reports FILE]

Pairs are reports of a JSONL file (`findings`, else `impression`; by default the public Indiana
reports where they are at hand, else reports of phantoms): report i is scored against report
i + n. Both get the same texts, split at blanks; the time of splitting is in ours. Ours and the
peer run in turn; medians. `difference` is the largest over the corpus values and over every
pair. The last row is ours alone: with percentile and BCa intervals over patients.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from xraytk.data.synthetic import make_phantom
from xraytk.tasks.metrics import text
from xraytk.tasks.metrics.grams import bleu_and_cider

REPORTS = Path(__file__).parents[2] / "shared/data/reports_iu/reports.jsonl"
PAIRS = 590

Texts = list[str]


def pairs_of(path: Path, count: int) -> tuple[Texts, Texts, str]:
    """Hypotheses, references and where they come from."""
    if path.is_file():
        rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        found, name = [r.get("findings") or r.get("impression") or "" for r in rows], path.parent.name
    else:
        found, name = [make_phantom(seed, size_px=64).reports["en"] for seed in range(2 * count)], "phantoms"
    clean = [" ".join(text.units(t, "en")) for t in found if t.strip()]
    return clean[count : 2 * count], clean[:count], name


def peers() -> dict[str, Callable[[Texts, Texts], tuple[list[float], np.ndarray]]] | None:
    """The peer's scorers: corpus values and (scores, n) of the pairs; None where it is not installed."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        return None

    def wrapped(
        make: Callable[[], Any], **more: Any
    ) -> Callable[[Texts, Texts], tuple[list[float], np.ndarray]]:
        def score(hyps: Texts, refs: Texts) -> tuple[list[float], np.ndarray]:
            theirs = {i: [t] for i, t in enumerate(refs)}, {i: [t] for i, t in enumerate(hyps)}
            total, each = make().compute_score(*theirs, **more)
            return list(np.atleast_1d(total)), np.atleast_2d(np.asarray(each))

        return score

    return {"bleu": wrapped(lambda: Bleu(4), verbose=0), "rouge_l": wrapped(Rouge), "cider": wrapped(Cider)}


def ours(hyps: Texts, refs: Texts, what: str) -> tuple[list[float], np.ndarray]:
    """The same of ours."""
    a, b = [t.split() for t in hyps], [t.split() for t in refs]
    if what == "rouge_l":
        each = np.array([[text.rouge_l(h, r) for h, r in zip(a, b, strict=True)]])
        return [float(each.mean())], each
    if what == "bleu":
        counts, _ = bleu_and_cider(a, b)
        return list(text.bleu(counts.sum(axis=0, keepdims=True))[0]), text.bleu(counts).T
    if what == "cider":
        each = bleu_and_cider(a, b)[1][None]
        return [float(each.mean())], each
    rows = text.text_rows(a, b)
    return list(rows.score(np.ones((1, len(a))))[0]), np.concatenate(
        [text.bleu(rows.counts).T, [rows.rouge, rows.cider]]
    )


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def rows_of(hyps: Texts, refs: Texts, runs: int) -> list[dict[str, Any]]:
    """One row a case."""
    there = peers()
    rows = []
    for case in ("bleu", "rouge_l", "cider", "all"):
        row: dict[str, Any] = {"case": f"{case}, {len(refs)} pairs", "peer": "pycocoevalcap", "runs": runs}
        times: tuple[list[float], list[float]] = ([], [])
        chosen = [there[case]] if there and case != "all" else list(there.values()) if there else []
        for _ in range(runs):
            times[0].append(timed(lambda case=case: ours(hyps, refs, case)))
            if chosen:
                times[1].append(timed(lambda chosen=chosen: [score(hyps, refs) for score in chosen]))
        row["ours_ms"] = round(statistics.median(times[0]), 1)
        if chosen:
            theirs = [score(hyps, refs) for score in chosen]
            corpus, each = ours(hyps, refs, case)
            row["peer_ms"] = round(statistics.median(times[1]), 1)
            row["ratio"] = round(row["peer_ms"] / row["ours_ms"], 1)
            gaps = (
                np.abs(np.concatenate([t[0] for t in theirs]) - corpus).max(),
                np.abs(np.concatenate([t[1] for t in theirs]) - each).max(),
            )
            row["difference"] = float(max(gaps))
        rows.append(row)
    people = [str(i) for i in range(len(refs))]
    took = [timed(lambda: text.score_texts(hyps, refs, "en", people, resamples=1000)) for _ in range(runs)]
    rows.append(
        {
            "case": "all, from plain text, 1000 resamples",
            "ours_ms": round(statistics.median(took), 1),
            "runs": runs,
        }
    )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="JSONL of reports")
    asked = parser.parse_args()
    hyps, refs, name = pairs_of(asked.reports, PAIRS)
    rows = rows_of(hyps, refs, 3 if asked.quick else 9)
    if asked.json:
        print(
            json.dumps({"machine": platform.processor() or platform.machine(), "reports": name, "rows": rows})
        )
        return
    heads = ("case", "ours_ms", "peer", "peer_ms", "ratio", "difference", "runs")
    table = [heads, *([f"{row.get(h, '-')}" for h in heads] for row in rows)]
    wide = [max(len(line[c]) for line in table) for c in range(len(heads))]
    print(f"reports: {name}")
    for line in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)).rstrip())
    if peers() is None:
        print("pycocoevalcap is not installed: nothing to compare with")


if __name__ == "__main__":
    main()
