"""Reports that need no model: what a report model of a workspace has to beat.

    python benchmarks/report_peers.py WORKSPACE PREDICTIONS OUT [--lang en] [--seed 0]

PREDICTIONS is a predictions.jsonl of `xraytk evaluate report`, which names the test images and has
their references. Two peers are written to OUT, to be scored by `xraytk evaluate report` in the same
way and compared by `xraytk evaluate A B`: "typical" says for every image the training report that is
nearest to all the others, by (BLEU-4 + ROUGE-L) / 2 against each of them, a report that several images
share counted once; "random" says for each image some training report.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xraytk.data.reports import reports_of
from xraytk.data.stream import Stream, StreamConfig
from xraytk.files import Workspace, atomic_write
from xraytk.models.tokens import units
from xraytk.tasks.metrics.text import text_rows


def main() -> None:
    """Write both peers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="workspace with shards of the train split")
    parser.add_argument("predictions", type=Path, help="predictions.jsonl of an evaluated model")
    parser.add_argument("out", type=Path, help="folder for typical.jsonl and random.jsonl")
    parser.add_argument("--lang", choices=("en", "zh"), default="en")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    stream = Stream(Workspace(args.work).shards, "train", StreamConfig(), needs=frozenset({"reports"}))
    texts = reports_of(stream, [args.lang])[args.lang]
    lines = [json.loads(line) for line in args.predictions.read_text("utf-8").splitlines()]
    best = typical(sorted(set(texts)), args.lang)
    rng = np.random.default_rng(args.seed)
    drawn = [texts[i] for i in rng.integers(0, len(texts), len(lines))]
    args.out.mkdir(parents=True, exist_ok=True)
    for name, said in (("typical", [best] * len(lines)), ("random", drawn)):
        with atomic_write(args.out / f"{name}.jsonl", "w") as stream_out:
            for line, text in zip(lines, said, strict=True):
                kept = {key: line[key] for key in ("image_id", "patient_id")}
                stream_out.write(json.dumps({**kept, "text": text}, ensure_ascii=False) + "\n")


def typical(texts: Sequence[str], lang: str) -> str:
    """The text that is nearest to all the others."""
    tokens = [units(text, lang) for text in texts]
    scores = []
    for i, own in enumerate(tokens):
        others = tokens[:i] + tokens[i + 1 :]
        rows = text_rows([own] * len(others), others)
        each = rows.score(np.eye(len(others)))
        scores.append(float(each[:, [3, 4]].mean()))
    return texts[int(np.argmax(scores))]


if __name__ == "__main__":
    main()
