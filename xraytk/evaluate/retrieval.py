"""The task ``retrieval``: from an image to its report, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xraytk.errors import DataError
from xraytk.evaluate import towers
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.evaluate.towers import Seen, Split, Towers
from xraytk.progress import Progress
from xraytk.tasks.language import ranks
from xraytk.tasks.metrics.panel import Scores
from xraytk.tasks.scoring import plots
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of, hash_of_ids, intervals


def score(
    config: EvaluateConfig, found: Towers, split: Split, progress: Progress
) -> tuple[Scored, dict[str, bytes]]:
    """Rank reports by images and images by reports, in every language.

    Raises:
        DataError: If no image has a report in a language that is asked for.
    """
    langs = towers.languages(found, config)
    seen = towers.look(found, config, split, frozenset({"reports"}), progress)
    scores: Scores = {}
    chance: Scores = {}
    notes, rows = [], []
    for lang in langs:
        known = np.asarray([bool(text.strip()) for text in seen.reports[lang]])
        if not known.any():
            notes.append(f"no image has a report in {lang}")
            continue
        directions, spelled = ranked(found, seen, lang, known)
        for table, of in ((scores, directions), (chance, [(n, p.by_chance()) for n, p in directions])):
            panel = ranks.rank_panel(of, config.language.ranks, known)
            table |= panel.values(seen.patients, resamples=config.bootstrap, seed=config.seed)
        count = int(known.sum())
        notes.append(
            f"{lang}: {count:,} images have a report, {spelled:,} of which read differently; "
            f"{len(known) - count:,} have none and are left out"
        )
        images = [i for i, there in zip(seen.ids, known, strict=True) if there]
        values = zip(images, *(p.ranks().tolist() for _, p in directions), strict=True)
        rows += [{"image_id": i, "lang": lang, "to_report": a, "to_image": b} for i, a, b in values]
    if not scores:
        raise DataError(
            f"no image of the {split} split has a report",
            f"looked for {', '.join(langs)}",
            "Give reports to `xraytk ingest --reports FILE`, then run `xraytk shard` again.",
        )
    protocol = fingerprinted(
        {
            "similarity": f"cosine, {ranks.DIGITS} digits",
            "candidates": "different reports; all images that have one",
            "right": "the report, or any image whose report reads the same but for spaces and capitals",
            "alike": "expected rank over random orders of equal similarities",
            "images": len(seen.ids),
            "patients": len(set(seen.patients)),
            "image_ids_sha256": hash_of_ids(seen.ids),
            "references_sha256": {
                lang: hash_of(zip(seen.ids, seen.reports[lang], strict=True)) for lang in langs
            },
            "intervals": intervals(config.bootstrap, config.seed) + "; the candidates stay",
        }
    )
    made = Scored(
        "retrieval",
        len(seen.ids),
        len(set(seen.patients)),
        {"retrieval": scores, "by chance": chance},
        protocol,
        {},
        tuple(notes),
        rows=tuple(rows),
    )
    shown = {
        f"{name}, {metric}": value
        for name, values in scores.items()
        for metric, value in values.items()
        if metric != ranks.MEDIAN
    }
    return made, {"recall": plots.bars(shown, "R@k")}


def ranked(
    found: Towers, seen: Seen, lang: str, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[list[tuple[str, ranks.Places]], int]:
    """Both directions of a language, and how many reports are different.

    Args:
        found: The towers.
        seen: The images.
        lang: Of the reports.
        known: (n,) images that have one.
    """
    texts = [text for text, there in zip(seen.reports[lang], known, strict=True) if there]
    group, spelled = ranks.groups(texts)
    report, image = towers.unit(found.texts(spelled, lang)), towers.unit(seen.image[known])
    to_report = ranks.places(image, group, report, np.arange(len(spelled)))
    to_image = ranks.places(report, np.arange(len(spelled)), image, group)
    each = replace(
        to_image,
        above=to_image.above[group],
        wrong=to_image.wrong[group],
        right=to_image.right[group],
        all_right=to_image.all_right[group],
    )
    return [(f"{lang} image to report", to_report), (f"{lang} report to image", each)], len(spelled)
