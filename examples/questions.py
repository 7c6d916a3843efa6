"""Make questions about the images of a workspace from their labels, for `xraytk finetune vqa`.

    python examples/questions.py xraytk-work questions.jsonl
    xraytk finetune vqa --set questions=questions.jsonl

Labels say what is there; sides are read by rules from the reports, where there are reports.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from xraytk.records import LANGUAGES
from xraytk.tasks.findings import label
from xraytk.tasks.language.questions import Question, questions_about, write_questions


def main() -> None:
    """Write the questions of every image that has labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lang", choices=LANGUAGES, action="append", help="Both by default.")
    given = parser.parse_args()
    table = given.work / "ingest" / "labels.parquet"
    if not table.is_file():
        raise SystemExit(f"{given.work} has no labels: run `xraytk ingest --labels FILE` first")
    labels: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for row in pq.read_table(table).to_pylist():
        labels[row["image_id"]][row["label"]] = row["value"]
    path = given.work / "ingest" / "reports.parquet"
    reports = {row["image_id"]: row for row in pq.read_table(path).to_pylist()} if path.exists() else {}
    made: list[Question] = []
    for image_id, known in sorted(labels.items()):
        sides = sides_of(reports.get(image_id, {}), known)
        for lang in given.lang or LANGUAGES:
            made += questions_about(image_id, known, sides, lang)
    write_questions(given.out, made)
    print(f"{len(made):,} questions about {len(labels):,} images")


def sides_of(report: dict[str, str | None], known: dict[str, float]) -> dict[str, str]:
    """Sides of the findings that labels call present, as the report has them."""
    said = label(report.get("en") or "", "en")
    names = {name: "Lung Lesion" if name in ("Nodule", "Mass") else name for name in known}
    found = {name: said.side(own) for name, own in names.items() if own in said.findings}
    return {name: side for name, side in found.items() if side and known[name] == 1}


if __name__ == "__main__":
    main()
