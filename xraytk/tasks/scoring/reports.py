"""Score generated reports against references: words, findings, and other people's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from xraytk import __version__
from xraytk.errors import DataError, UsageError
from xraytk.records import LANGUAGES
from xraytk.tasks.findings import label_many, language_of
from xraytk.tasks.metrics import meteor
from xraytk.tasks.metrics.panel import Panel, Scores
from xraytk.tasks.metrics.text import NO_CIDER, TEXT_METRICS, TextRows, score_rows, text_rows
from xraytk.tasks.metrics.values import Value, absent
from xraytk.tasks.scoring import clinical, external, given, r2gen
from xraytk.tasks.scoring.groups import Groups, groups_of
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of, hash_of_ids, intervals
from xraytk.tasks.scoring.words import Tokens, splittings

MOST_WRONG = 0.5
"""Share of texts in another language from which on the file is refused."""
AVERAGES = (
    "micro: of summed counts; macro: mean over the findings whose score exists (precision: named in a "
    "generated report, recall: in a reference, F1: in either; scikit-learn takes 0 for the others); over all "
    "findings, No Finding among them, as R2Gen and CheXbert do; -5: over the five of CheXpert's competition"
)
"""How findings are averaged, for the protocol."""
Named = Literal["references", "predictions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """How reports are scored.

    Args:
        lang: "en" or "zh".
        protocol: "full": references whole. "r2gen": R2Gen's cleaner, references cut to its
            length and, with training reports, their rare words unknown.
        r2gen: Settings of that protocol.
        training: Table of training reports, for R2Gen's vocabulary.
        uncertain: How an uncertain finding counts; "" is R2Gen's "negative" under its protocol
            and "positive" under "full".
        meteor: Run METEOR where Java and its jar are there.
        extra: Other scores: radgraph, chexbert, green, radeval:METRIC, or "package.module:function".
        leave: Leave references without a prediction out, instead of refusing.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    lang: str = "en"
    protocol: Literal["full", "r2gen"] = "full"
    r2gen: r2gen.R2GenConfig = field(default_factory=r2gen.R2GenConfig)
    training: Path | None = None
    uncertain: Literal["", "positive", "negative", "ignore"] = ""
    meteor: bool = True
    extra: tuple[str, ...] = ()
    leave: bool = False
    resamples: int = 1000
    seed: int = 0

    @property
    def policy(self) -> clinical.Uncertain:
        """How an uncertain finding counts."""
        return self.uncertain or ("negative" if self.protocol == "r2gen" else "positive")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Generated and reference reports of the same n images.

    Args:
        ids: Images.
        patients: Their patients.
        hypotheses: Generated; "" where nothing was.
        references: None is blank.
        facts: Groups of the images by fact.
        notes: On the input.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]
    facts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_pairs(predictions: Path, references: Path, options: ReportOptions) -> Pairs:
    """Read and match both tables.

    A column ``reference`` of the references wins over their ``text``: so our own
    predictions.jsonl, which holds both, is its own truth.

    Raises:
        DataError: If one is not what it should be; see `given`.
    """
    ours, truth = (given.read(path, options.lang) for path in (predictions, references))
    ours, truth, notes = given.match(ours, truth, leave=options.leave)
    generated = given.text_column(ours, options.lang)
    reference = truth.columns.get("reference") or given.text_column(truth, options.lang)
    return pairs_of(ours, truth, generated, reference, notes, options.lang)


def pairs_of(
    ours: given.Table,
    truth: given.Table,
    generated: Sequence[str],
    reference: Sequence[str],
    notes: Sequence[str],
    lang: str,
) -> Pairs:
    """Put matched tables together; leave blank references out, with a note.

    Raises:
        DataError: If all references are blank, or most texts are in another language.
    """
    patients, more = given.patients_of(ours, truth)
    notes = [*notes, *more]
    keep = [i for i, text in enumerate(reference) if text.strip()]
    blank = [truth.ids[i] for i, text in enumerate(reference) if not text.strip()]
    if not keep:
        raise DataError(f"every reference of {truth.name} is blank", f"{len(blank):,} rows")
    if blank:
        notes.append(
            f"{len(blank):,} images without a reference report are left out, first: {given.first(blank)}"
        )
    facts = given.facts_of(ours, truth)

    def kept(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[i] for i in keep)

    made = Pairs(
        kept(truth.ids),
        kept(patients),
        kept(generated),
        kept(reference),
        {fact: kept(cells) for fact, cells in facts.items()},
        tuple(notes),
    )
    return _checked(made, ours.name, truth.name, lang)


def _checked(pairs: Pairs, predictions: str, references: str, lang: str) -> Pairs:
    """Notes on empty predictions and on texts in another language; refuse a wrong file."""
    notes = list(pairs.notes)
    silent = [i for i, text in zip(pairs.ids, pairs.hypotheses, strict=True) if not text.strip()]
    if silent:
        notes.append(
            f"{len(silent):,} predictions are empty and score as empty texts, first: {given.first(silent)}"
        )
    for name, texts in ((references, pairs.references), (predictions, pairs.hypotheses)):
        spoken = [(i, said) for i, text in zip(pairs.ids, texts, strict=True) if (said := language_of(text))]
        wrong = [i for i, said in spoken if said != lang]
        if len(wrong) > MOST_WRONG * len(spoken):
            raise _other_language(name, lang, wrong, [said for _, said in spoken])
        if wrong:
            notes.append(
                f"{len(wrong):,} texts of {name} are not in language {lang}: their words are scored as they "
                f"are, and no finding is read in them, first: {given.first(wrong)}"
            )
    return Pairs(pairs.ids, pairs.patients, pairs.hypotheses, pairs.references, pairs.facts, tuple(notes))


def _other_language(name: str, lang: str, wrong: Sequence[str], said: Sequence[str]) -> DataError:
    """The error for a file of which most texts are in another language."""
    most = max(set(said), key=said.count)
    todo = f"Score them with --lang {most}, or give the other file."
    return DataError(
        f"{len(wrong):,} of {len(said):,} texts of {name} are not in language {lang}",
        f"first: {given.first(wrong)}",
        todo if most in LANGUAGES else f"Reports can be scored in: {', '.join(LANGUAGES)}.",
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """What all scores of a set of pairs are made of.

    Args:
        words: By splitting ("word", "character").
        findings: Of the labeller, by its name.
        absent: What could not be counted, and why.
        said: How each was counted, for the protocol.
    """

    words: dict[str, TextRows]
    findings: dict[str, clinical.FindingRows]
    absent: dict[str, str]
    said: dict[str, Any]


def count(pairs: Pairs, options: ReportOptions) -> Counted:
    """Count everything once.

    Raises:
        UsageError: If the protocol does not know the language.
    """
    if options.protocol == "r2gen" and options.lang != "en":
        raise UsageError("protocol r2gen is for English", f"lang is {options.lang}", "Use --protocol full.")
    known = _training_words(options)
    words: dict[str, TextRows] = {}
    lacking: dict[str, str] = {}
    said: dict[str, Any] = {"tokens": {}, "references_sha256": {}}
    for way in splittings(options.lang, options.protocol, options.r2gen, known):
        if way.absent:
            lacking[way.name] = way.absent
            continue
        hyps, refs = way.split(pairs.hypotheses, pairs.references)
        words[way.name] = _words(hyps, refs, options, lacking)
        said["tokens"][way.name] = way.said
        said["references_sha256"][way.name] = hash_of(zip(pairs.ids, refs, strict=True))
    if options.protocol == "r2gen":
        said["unknown_words"] = (
            "kept: no training reports given" if known is None else f"<unk>, of {len(known)}"
        )
    findings: dict[str, clinical.FindingRows] = {}
    for name, label in _labellers(options):
        both = [label(texts) for texts in (pairs.hypotheses, pairs.references)]
        if isinstance(both[0], str) or isinstance(both[1], str):
            lacking[name] = next(x for x in both if isinstance(x, str))
        else:
            findings[name] = clinical.finding_rows(both[0], both[1], options.policy)
            said["references_sha256"][name] = hash_of(zip(pairs.ids, both[1], strict=True))
    return Counted(words, findings, lacking, said)


def _training_words(options: ReportOptions) -> frozenset[str] | None:
    if options.protocol != "r2gen" or options.training is None:
        return None
    return r2gen.vocabulary(given.text_column(given.read(options.training, "en"), "en"), options.r2gen)


def _words(hyps: Tokens, refs: Tokens, options: ReportOptions, lacking: dict[str, str]) -> TextRows:
    stats = None
    if options.lang != "en":
        lacking["meteor"] = "absent: METEOR's program does not know Chinese"
    elif not options.meteor:
        lacking["meteor"] = "absent: left out by --set meteor=false"
    elif (found := meteor.find()).absent:
        lacking["meteor"] = f"absent: {found.absent}"
    else:
        stats = meteor.statistics([" ".join(h) for h in hyps], [" ".join(r) for r in refs], found)
    return text_rows(hyps, refs, stats)


def _labellers(options: ReportOptions) -> list[tuple[str, Callable[[Sequence[str]], clinical.Found | str]]]:
    def rules(texts: Sequence[str]) -> clinical.Found | str:
        return [found.findings for found in label_many(texts, options.lang)]

    out: list[tuple[str, Callable[[Sequence[str]], clinical.Found | str]]] = [("findings", rules)]
    if "chexbert" in options.extra:
        out.append(("chexbert", external.chexbert))
    return out


def score(pairs: Pairs, options: ReportOptions) -> Scored:
    """Score pairs of reports.

    Args:
        pairs: Of `read_pairs`.
        options: How.
    """
    counted = count(pairs, options)
    draws = {"resamples": options.resamples, "seed": options.seed}
    words: Scores = {}
    for name, rows in counted.words.items():
        words[name] = score_rows(rows, pairs.patients, resamples=options.resamples, seed=options.seed)
    for name, why in counted.absent.items():
        if name == "meteor":
            for row in words.values():
                row["meteor"] = absent(why, len(pairs.ids))
        elif name in ("word", "character"):
            words[name] = {m: absent(why, len(pairs.ids)) for m in (*TEXT_METRICS, "meteor")}
    tables = {"words": words}
    tables |= {name: rows.panel().values(pairs.patients, **draws) for name, rows in counted.findings.items()}
    others = _others(pairs, options)
    if others:
        tables["others"] = {"mean": others}
    return Scored(
        "report",
        len(pairs.ids),
        len(set(pairs.patients)),
        tables,
        _protocol(pairs, options, counted),
        {**counted.absent, **{name: v.reason for name, v in others.items() if v.reason}},
        (*pairs.notes, *_averaged(counted)),
        _groups(pairs, options, counted),
        rows_of(pairs, options.lang),
    )


def _averaged(counted: Counted) -> list[str]:
    """Of how many findings each macro mean is."""
    out = []
    for name, rows in counted.findings.items():
        means = ", ".join(f"{'F1' if m == 'f1' else m} {count}" for m, count in rows.averaged().items())
        out.append(
            f"{name}: macro is the mean over those of {len(rows.findings)} that have the score: {means}"
        )
    return out


def _others(pairs: Pairs, options: ReportOptions) -> dict[str, Value]:
    names = [name for name in options.extra if name != "chexbert"]
    if names and options.lang != "en":
        return {name: absent("absent: it was made for English", len(pairs.ids)) for name in names}
    return external.score(
        names,
        pairs.hypotheses,
        pairs.references,
        pairs.patients,
        resamples=options.resamples,
        seed=options.seed,
    )


def text_panel(rows: TextRows, name: str) -> Panel:
    """The text scores as a table of one row."""
    return Panel((name,), rows.metrics, rows.score, why={(name, "cider"): NO_CIDER})


def _groups(pairs: Pairs, options: ReportOptions, counted: Counted) -> dict[str, list[Groups]]:
    """Subgroups of the first splitting and of the findings' means."""
    shown, rows = next(iter(counted.words.items()))
    panels = {"words": text_panel(rows, shown)}
    panels |= {name: found.panel() for name, found in counted.findings.items() if name == "findings"}
    return {
        name: groups_of(panel, pairs.facts, pairs.patients, resamples=options.resamples, seed=options.seed)
        for name, panel in panels.items()
    }


def _protocol(pairs: Pairs, options: ReportOptions, counted: Counted) -> dict[str, Any]:
    whole = options.protocol == "full"
    cut = f"cleaned, first {options.r2gen.max_words - 1} words"
    protocol: dict[str, Any] = {
        "task": "report",
        "protocol": options.protocol,
        "lang": options.lang,
        "references": "one an image, whole" if whole else f"one an image, {cut}",
        "hypotheses": "whole" if whole else "cleaned, whole",
        **counted.said,
        "metrics": "BLEU, ROUGE-L (beta 1.2), CIDEr-D (document frequencies of all references) with the "
        "formulas of pycocoevalcap" + ("" if "meteor" in counted.absent else "; METEOR of its jar"),
        "images": len(pairs.ids),
        "patients": len(set(pairs.patients)),
        "empty_hypotheses": sum(not text.strip() for text in pairs.hypotheses),
        "image_ids_sha256": hash_of_ids(pairs.ids),
        "intervals": intervals(options.resamples, options.seed),
    }
    if counted.findings:
        protocol |= {
            "labellers": {
                n: f"rules of xraytk {__version__}" if n == "findings" else n for n in counted.findings
            },
            "uncertain_findings": options.policy,
            "averages": AVERAGES,
        }
    return fingerprinted(protocol)


def rows_of(pairs: Pairs, lang: str) -> tuple[dict[str, Any], ...]:
    """Lines for predictions.jsonl."""
    return tuple(
        {
            "image_id": image,
            "patient_id": pairs.patients[i],
            "lang": lang,
            "text": pairs.hypotheses[i],
            "reference": pairs.references[i],
            **{fact: cells[i] for fact, cells in pairs.facts.items() if fact != "age"},
        }
        for i, image in enumerate(pairs.ids)
    )
