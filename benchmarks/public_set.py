"""Gather public chest radiographs into one folder that `xraytk ingest` reads.

    python benchmarks/public_set.py --data DATA --out OUT
    xraytk ingest OUT/pictures --metadata OUT/about.csv --labels OUT/labels.csv --key OUT/key.txt --work WORK

DATA holds `cls_pediatric_pneumonia`, `cls_nih`, `hd`, `covid_hannover`, `tb_shenzhen_lung` and
`kermany_native_aspect`, each with a manifest.csv: sets whose licences let weights that are trained
on them be given away. Folders that are absent are left out.

The labelled paediatric images stay the squares that their copy was squeezed to: native proportions are
known for most normal ones and for fewer of the others, so restoring them would give the label away. Those
of `kermany_native_aspect` get no labels for the same reason. The key is made of a constant, so that
everybody has the same split: the data is public, nobody is hidden.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Picture:
    """One image of a public set, and what is known of it."""

    path: Path
    patient: str
    view: str = ""
    sex: str = ""
    age: str = ""
    labels: str = ""


def paediatric(row: dict[str, str]) -> str:
    """Labels of a row: Normal, or Pneumonia and its kind."""
    return "Normal" if row["subtype"] == "normal" else f"Pneumonia|{row['subtype'].capitalize()}"


def every_picture(data: Path) -> Iterator[Picture]:
    """All pictures of the sets that are there."""
    for path, row in rows(data / "cls_pediatric_pneumonia"):
        yield Picture(path, f"kermany-{row['patient']}", "AP", labels=paediatric(row))
    for path, row in rows(data / "kermany_native_aspect"):
        yield Picture(path, f"kermany-{row['patient']}", "AP")
    for path, row in rows(data / "cls_nih"):
        yield Picture(path, f"nih-{row['patient']}", row["view"], row["sex"], row["age"])
    for path, row in rows(data / "hd"):
        yield Picture(path, f"nih-{row['patient']}" if "NIH" in row["source"] else f"hd-{row['patient']}")
    for path, row in rows(data / "covid_hannover"):
        yield Picture(path, f"hannover-{row['patient']}", row["view"].upper(), row["sex"].upper())
    for path, _ in rows(data / "tb_shenzhen_lung"):
        yield Picture(path, f"shenzhen-{path.stem}", "PA")


def rows(folder: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Image and row of each line of a set's manifest.csv; nothing when the set is absent."""
    if (folder / "manifest.csv").is_file():
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                yield folder / row["image"], row


def main() -> None:
    """Write pictures, about.csv, labels.csv and key.txt."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pictures = given.out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    about, labels = [], []
    for number, one in enumerate(every_picture(given.data)):
        file = f"{number:05d}.png"
        with Image.open(one.path) as image:
            image.convert("L").save(pictures / file, compress_level=1)
        about.append((file, one.patient, one.view, one.sex, one.age))
        if one.labels:
            labels.append((file, one.labels))
    for name, header, lines in (
        ("about.csv", ("file", "patient", "view", "sex", "age"), about),
        ("labels.csv", ("file", "labels"), labels),
    ):
        with (given.out / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *lines])
    key = given.out / "key.txt"
    key.write_text(hashlib.sha256(b"xraytk public set").hexdigest() + "\n")
    key.chmod(0o600)
    print(f"{len(about):,} pictures, {len(labels):,} with labels, in {given.out}")


if __name__ == "__main__":
    main()
