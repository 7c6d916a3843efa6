"""The task ``zero-shot``: labels by what prompts say, with nothing learned from labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from xraytk.data.store import read_index
from xraytk.errors import DataError
from xraytk.evaluate import towers, workspace
from xraytk.evaluate.facts import facts_of
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.evaluate.towers import Seen, Single, Split, Towers
from xraytk.files import Workspace
from xraytk.progress import Progress
from xraytk.tasks.language.prompts import Prompts, prompts_of, read_prompts
from xraytk.tasks.scoring import labels, plots
from xraytk.tasks.scoring.labels import Fitted, LabelSet
from xraytk.tasks.scoring.scored import Scored, fingerprinted

Floats = NDArray[np.float64]
_NEEDS = frozenset({"labels"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked in one language.

    Args:
        lang: The language.
        prompts: By label.
        columns: Of the labels in the shards.
        positive: (C, D) vectors of the positive prompts.
        negative: (C, D).
    """

    lang: str
    prompts: Mapping[str, Prompts]
    columns: tuple[int, ...]
    positive: Single
    negative: Single


def score(
    config: EvaluateConfig, found: Towers, split: Split, progress: Progress
) -> tuple[Scored, dict[str, bytes]]:
    """Score the labels of the shards by prompts, in every language.

    Raises:
        DataError: If there is no label, or none of them has a prompt.
    """
    langs = towers.languages(found, config)
    method = config.language.method or ("maco" if found.name == "maco" else "chexzero")
    asked, notes = ask(config, found, langs, method)
    seen = towers.look(found, config, split, _NEEDS, progress)
    tune = _tune(config, found, split, progress)
    facts = facts_of(config, seen.ids)
    done: dict[str, Scored] = {}
    figures: dict[str, bytes] = {}
    for each in asked:
        test, fitted = label_set(each, seen, method, facts), _fitted(each, tune, method)
        done[each.lang] = labels.score(test, config.labels(), fitted)
        if not figures:
            figures = plots.of_labels(labels.cooled(test, fitted), fitted, done[each.lang].tables["labels"])
    return _joined(done, asked, method, notes), figures


def ask(
    config: EvaluateConfig, found: Towers, langs: Sequence[str], method: str
) -> tuple[list[Asked], list[str]]:
    """Embed the prompts of all labels.

    Raises:
        DataError: If there is no label, or none of them has a prompt.
    """
    shards = config.shards or Workspace(config.work).shards
    names = tuple(read_index(shards, config.cache).labels)
    if not names:
        raise DataError(
            f"{shards} holds no labels",
            todo="Give labels to `xraytk ingest --labels FILE`, then run `xraytk shard` again.",
        )
    tree = read_prompts(config.language.prompts, names)
    made, notes = [], []
    for lang in langs:
        prompts = {label: prompts_of(label, lang, method, tree) for label in names}
        if lacking := [label for label, there in prompts.items() if there is None]:
            notes.append(f"{lang}: no name, and so no prompt, for {', '.join(lacking)}: see language.prompts")
        there = {label: one for label, one in prompts.items() if one is not None}
        if there:
            columns = tuple(names.index(label) for label in there)
            positive = [_vector(found, one.positive, lang, method) for one in there.values()]
            negative = [_vector(found, one.negative, lang, method) for one in there.values()]
            made.append(Asked(lang, there, columns, np.stack(positive), np.stack(negative)))
    if not made:
        raise DataError(
            f"no label has a prompt in {', '.join(langs)}",
            f"labels: {', '.join(names)}",
            "Name them in a file: --set language.prompts=FILE.",
        )
    return made, notes


def _vector(found: Towers, texts: Sequence[str], lang: str, method: str) -> Single:
    """What stands for several sentences: the mean of their vectors."""
    vectors = found.texts(texts, lang)
    if method == "maco":
        return np.asarray(vectors.mean(0), np.float32)
    return np.asarray(towers.unit(towers.unit(vectors).mean(0)), np.float32)


def chances(image: Single, positive: Single, negative: Single, method: str) -> Floats:
    """Softmax of the nearness to the positive and to the negative prompts.

    Args:
        image: (n, D).
        positive: (C, D).
        negative: (C, D).
        method: "maco": plain products; "chexzero": cosines.

    Returns:
        (n, C) in [0, 1].

    Source:
        CheXzero (Tiu et al. 2022), methods; MaCo's release.
    """
    image = image if method == "maco" else towers.unit(image)
    near = image.astype(np.float64) @ (positive.astype(np.float64) - negative).T
    return np.asarray(expit(near), np.float64)


def label_set(asked: Asked, seen: Seen, method: str, facts: Mapping[str, tuple[str, ...]]) -> LabelSet:
    """Predictions of one language."""
    scores = chances(seen.image, asked.positive, asked.negative, method)
    truth = seen.truth[:, list(asked.columns)]
    return LabelSet(seen.ids, seen.patients, tuple(asked.prompts), scores, truth, facts)


def _tune(config: EvaluateConfig, found: Towers, split: Split, progress: Progress) -> Seen | None:
    """The validation split, for thresholds, where something else is scored."""
    shards = config.shards or Workspace(config.work).shards
    if split == "val" or not len(read_index(shards, config.cache).rows("val")):
        return None
    return towers.look(found, config, "val", _NEEDS, progress)


def _fitted(asked: Asked, tune: Seen | None, method: str) -> Fitted:
    """Temperature and thresholds of the validation split, where there is one."""
    names = tuple(asked.prompts)
    if tune is None:
        return labels.unfitted(names)
    near = label_set(asked, tune, method, {})
    return labels.fit_on(near.scores, near.truth, names)


def _joined(done: Mapping[str, Scored], asked: Sequence[Asked], method: str, notes: list[str]) -> Scored:
    """All languages as one: the first gives table, groups and predictions their usual names."""
    first, *others = done
    tables = dict(done[first].tables)
    tables |= {f"{name}, {lang} prompts": t for lang in others for name, t in done[lang].tables.items()}
    rows = list(done[first].rows)
    for lang in others:
        rows = [
            {**row, f"scores_{lang}": other["scores"]}
            for row, other in zip(rows, done[lang].rows, strict=True)
        ]
    said = {
        one.lang: {
            label: {"positive": list(p.positive), "negative": list(p.negative)}
            for label, p in one.prompts.items()
        }
        for one in asked
    }
    protocol = fingerprinted({**workspace.bare(done[first].protocol), "method": method, "prompts": said})
    told = [*notes, f"table labels: prompts in {first}"]
    return replace(
        done[first], task="zero-shot", tables=tables, protocol=protocol, notes=tuple(told), rows=tuple(rows)
    )
