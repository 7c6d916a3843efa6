"""``xraytk curate``: an informative part of the training images, for `shard` and `pretrain`.

Copies of a patient's image go first. What is left lies around prototypes, by the embeddings of
an encoder or by cheap statistics of the pixels: crowds are thinned, the tail is kept whole.
Validation and test images are all kept, since a thinned test would be another test. Images are
chosen one by one: a patient may be kept in part, and lies in one split whatever is chosen.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xraytk.data import embeddings, manifest, pixel_statistics, selection, statistics_table
from xraytk.data.candidates import Candidates
from xraytk.data.choice import Choice, choose
from xraytk.data.pool import cpu_count
from xraytk.data.prototypes import ZONES, Points
from xraytk.data.selection_page import Shown, write_map, write_sheet
from xraytk.data.twins import Policy
from xraytk.data.whitening import Whitening, learn_whitening
from xraytk.errors import DataError, UsageError
from xraytk.files import Workspace, default_work, folder_lock, remove_leftovers, write_json
from xraytk.progress import Progress, Silent
from xraytk.records import FRONTAL_VIEWS, SPLITS, VIEWS, as_plain

REASONS = {
    "split": "kept: of a split that is kept whole",
    "spread": "kept: of the budget, far from the others that were chosen",
    "tail": "kept: far from its prototype, where the rare lies",
    "outlier-kept": "kept: farthest out, and by its pixels a chest radiograph",
    "decided": "a person said so",
    "budget": "left out: others like it are kept",
    "outlier": "left out: farthest out; a person should look at it",
    "duplicate": "left out: the same pixels as another image of the patient",
    "near-duplicate": "left out: looks like another image of the patient",
    "view": "left out: of another view than those that are curated",
    "image-missing": "left out: there is no PNG",
    "image-broken": "left out: the PNG cannot be read, or has another size than the manifest says",
    "image-empty": "left out: one grey all over",
    "worker-died": "left out: reading it ended the process, twice",
    "no-embedding": "left out: the table of embeddings has none, or one that is not finite",
}
"""Codes of the selection's ``reason``."""

CHESTS = ("FRONTAL", "LATERAL")
"""What ingest says of pixels that surely show an upright chest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateConfig:
    """What ``xraytk curate`` is asked to do.

    Args:
        work: The workspace.
        source: Ingest folder; the workspace's by default.
        out: Folder of the selection; the workspace's by default.
        embeddings: Parquet table with ``image_id`` and a list of numbers each; None to go by
            ``statistics``.
        column: Of that table; None for "embedding", or the only one that fits.
        statistics: "pixels" reads every image once; "signatures" takes the 64 numbers that
            ingest has stored, and reads none.
        keep: Share of the images of ``splits`` that is kept, in (0, 1]. The tail counts first, and
            is kept even when it is more.
        prototypes: How many; fewer where a prototype would have fewer than eight members.
        outliers: What lies at three spreads or more: "chests" keeps what ingest's look at the
            pixels is sure is an upright chest, "keep" keeps all, "drop" none (as CheXficient does).
        duplicates: Copies and near copies, as ingest has marked them: "patient" keeps one of each
            patient's, "all" one of any, "keep" all; see `data.twins`.
        decided: CSV with ``image_id`` and ``keep`` (1 or 0) of images that a person looked at.
        splits: Those that are curated; others are kept whole.
        views: Those that are curated; images of other views in ``splits`` are left out.
        whiten: How far directions are evened out, 0 to 1; None for 0 with embeddings, whose
            strong directions mean something, and 0.5 with statistics.
        seed: Of the start of k-means.
        workers: Processes that read images; 0 for one a processor. Changes no byte.
    """

    work: Path = field(default_factory=default_work)
    source: Path | None = None
    out: Path | None = None
    embeddings: Path | None = None
    column: str | None = None
    statistics: Literal["pixels", "signatures"] = "pixels"
    keep: float = 0.25
    prototypes: int = 32
    outliers: Literal["chests", "keep", "drop"] = "chests"
    duplicates: Policy = "patient"
    decided: Path | None = None
    splits: tuple[str, ...] = ("train",)
    views: tuple[str, ...] = FRONTAL_VIEWS
    whiten: float | None = None
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise UsageError(f"keep must be a share above 0 and up to 1, found {self.keep}")
        if self.prototypes < 1:
            raise UsageError(f"prototypes must be at least 1, found {self.prototypes}")
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, found {self.workers}")
        if self.whiten is not None and not 0 <= self.whiten <= 1:
            raise UsageError(f"whiten must lie in 0 to 1, found {self.whiten}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed must lie in 0 to {2**32 - 1}, found {self.seed}")
        for name, known in (("splits", SPLITS), ("views", VIEWS)):
            if unknown := sorted(set(getattr(self, name)) - set(known)):
                raise UsageError(f"{name} holds {', '.join(unknown)}", f"there are: {', '.join(known)}")
        if not self.splits:
            raise UsageError("splits is empty", todo='Name one, as in `--set splits=["train"]`.')


@dataclass(frozen=True, slots=True)
class CurateResult:
    """What ``xraytk curate`` chose.

    Args:
        curated: Images of the curated splits and views.
        kept: Of these, how many are kept.
        kept_whole: Images of the other splits, all kept.
        reasons: Number of images by reason, see `REASONS`.
        zones: Images by zone, and of these how many are kept.
        labels: For each label the curated images that have it, and of these how many are kept.
        prototypes: How many there are.
        patients: Of the curated images.
        patients_kept: Of these, how many have an image that is kept.
        across_patients: Images kept, or chosen among, whose copy belongs to another patient.
        across_splits: Curated images whose copy lies in another split.
        numbers: What images are compared by: embeddings, pixels or signatures.
        directions: Of the points.
        explained: Share of the variance in these directions.
        out: The folder.
        selection: The table.
        contact_sheet: By prototype and zone.
    """

    curated: int
    kept: int
    kept_whole: int
    reasons: dict[str, int]
    zones: dict[str, dict[str, int]]
    labels: dict[str, dict[str, int]]
    prototypes: int
    patients: int
    patients_kept: int
    across_patients: int
    across_splits: int
    numbers: str
    directions: int
    explained: float
    out: Path
    selection: Path
    contact_sheet: Path


def run(config: CurateConfig, progress: Progress | None = None) -> CurateResult:
    """Choose an informative part of the images of an ingest folder.

    Args:
        config: What to do.
        progress: Where to report to.

    Returns:
        The counts; the table and the pictures are in the folder.

    Raises:
        DataError: If manifest or embeddings are missing or broken, or no image is left.
        RunConflictError: If the folder is in use.
        MachineError: If the disk is full, or processes cannot start.
    """
    progress = progress or Silent()
    workspace = Workspace(config.work)
    source, out = config.source or workspace.ingest, config.out or workspace.curate
    images = Candidates(source, config.splits, config.views)
    with folder_lock(out):
        remove_leftovers(out)
        if config.decided is not None and (unknown := images.decide(_read_decided(config.decided))):
            progress.note(f"{unknown:,} decided images are not in the manifest")
        if config.duplicates != "keep" and not images.has("near_duplicate_of"):
            progress.note("the manifest marks no copies (an earlier version wrote it): none is left out")
        across = images.drop_twins(config.duplicates)
        rows = _numbers(config, images, out, progress)
        left = images.left
        if not len(left):
            raise DataError(
                f"none of {int(images.curated.sum()):,} images can be curated",
                ", ".join(f"{n:,} {reason}" for reason, n in _counted(images.reason)),
                "Look at the ingest folder, or choose other splits or views.",
            )
        with progress.task("curate", len(left)) as task:
            whitening, points = _points(config, rows)
            del rows
            choice = _choose(config, images, left, points, progress)
            task.update(len(left), kept=int(choice.keep.sum()))
        manifest.write_whole(out / selection.FILE, images.table())
        labels = images.labels()
        result = _result(config, images, choice, across, points.shape[1], whitening.share, labels, out)
        _draw(images, left, points, choice, result, out)
        settings = {"settings": _settings(config), "by_prototype": _by_prototype(choice)}
        write_json(out / "summary.json", {"format": manifest.FORMAT, **as_plain(result), **settings})
    return result


def _read_decided(path: Path) -> dict[str, bool]:
    """What a person said of images."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(row["image_id"].strip(), row["keep"].strip().lower()) for row in csv.DictReader(stream)]
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (KeyError, AttributeError, UnicodeDecodeError, csv.Error, OSError):
        raise DataError(
            f"{path} says nothing of images", "wanted CSV with columns image_id and keep"
        ) from None
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if odd := sum(word not in words for _, word in rows):
        raise DataError(f"{path} has {odd} rows whose keep is neither 1 nor 0")
    return {image_id: words[word] for image_id, word in rows}


def _numbers(
    config: CurateConfig, images: Candidates, out: Path, progress: Progress
) -> NDArray[np.floating[Any]]:
    """The numbers of each image that is left; those without any are refused."""
    left = images.left
    if config.embeddings is not None:
        ids = pa.array([images.ids[place] for place in left], pa.string())
        rows, found = embeddings.read_embeddings(config.embeddings, ids, config.column)
        images.refuse(left[~found], "no-embedding")
        rows = _unit(rows)
    elif config.statistics == "signatures":
        signatures = images.signatures(left)
        if signatures is None:
            raise DataError(
                "the manifest has no signatures", todo="Run `xraytk ingest` again, or go by pixels."
            )
        rows, found = signatures.astype(np.float32), np.asarray(signatures.any(1), np.bool_)
        images.refuse(left[~found], "image-empty")
    else:
        wrong = statistics_table.complete(out, images.jobs(left), config.workers, progress)
        found = np.array([images.ids[place] not in wrong for place in left], np.bool_)
        images.refuse(left[~found], [wrong[images.ids[place]] for place in left[~found]])
        if not found.any():
            return np.zeros((0, 1), np.float32)
        ids = pa.array([images.ids[place] for place in left], pa.string())
        rows, _ = embeddings.read_embeddings(out / statistics_table.FILE, ids)
    if not found.all():
        progress.note(f"{int((~found).sum()):,} images cannot be compared and are left out")
    return rows[found]


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows of length one, as CheXficient compares them; in place of a copy where it can be."""
    out = np.asarray(rows, np.float32)
    for at in range(0, len(out), 1 << 16):
        part = out[at : at + (1 << 16)]
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
    return out


def _points(config: CurateConfig, rows: NDArray[Any]) -> tuple[Whitening, Points]:
    """Rows as points whose distances mean something."""
    by_pixels = config.embeddings is None and config.statistics == "pixels"
    power = config.whiten
    if power is None:
        power = 0.0 if config.embeddings is not None else 0.5
    groups = tuple(pixel_statistics.GROUPS.values()) if by_pixels else ()
    whitening = learn_whitening(rows, power=power, groups=groups)
    return whitening, whitening(rows)


def _choose(
    config: CurateConfig, images: Candidates, left: NDArray[np.int64], points: Points, progress: Progress
) -> Choice:
    """Choose among what is left, and write down what became of each."""
    trusted = np.full(len(left), config.outliers == "keep")
    if config.outliers == "chests":
        chests = images.surely_chests(CHESTS)
        if chests is None:
            progress.note("the manifest does not say what the pixels show: all outliers are kept")
        trusted = np.ones(len(left), np.bool_) if chests is None else chests[left]
    wanted = round(config.keep * int(images.curated.sum())) - int((images.curated & images.keep).sum())
    choice = choose(
        points,
        wanted,
        trusted=trusted,
        count=config.prototypes,
        seed=config.seed,
        threads=config.workers or cpu_count(),
    )
    if choice.keep.sum() > max(wanted, 0):
        progress.note(f"the tail alone is {int(choice.keep.sum()):,} images, more than --keep asks for")
    images.keep[left], images.reason[left] = choice.keep, choice.reason
    images.prototype[left], images.distance[left] = choice.found.nearest, choice.found.distance
    images.zone[left] = np.array(ZONES)[choice.found.zone]
    return choice


def _counted(values: NDArray[np.str_]) -> list[tuple[str, int]]:
    return sorted(Counter(values.tolist()).items())


def _result(
    config: CurateConfig,
    images: Candidates,
    choice: Choice,
    across: tuple[int, int],
    directions: int,
    explained: float,
    labels: dict[str, dict[str, int]],
    out: Path,
) -> CurateResult:
    kept = images.curated & images.keep
    zone, keep = choice.found.zone, choice.keep
    return CurateResult(
        curated=int(images.curated.sum()),
        kept=int(kept.sum()),
        kept_whole=int((images.reason == "split").sum()),
        reasons=dict(_counted(images.reason)),
        zones={
            name: {"images": int((zone == code).sum()), "kept": int(keep[zone == code].sum())}
            for code, name in enumerate(ZONES)
        },
        labels=labels,
        prototypes=len(choice.found.centres),
        patients=len(np.unique(images.patient[images.curated])),
        patients_kept=len(np.unique(images.patient[kept])),
        across_patients=across[0],
        across_splits=across[1],
        numbers="embeddings" if config.embeddings is not None else config.statistics,
        directions=directions,
        explained=round(explained, 4),
        out=out,
        selection=out / selection.FILE,
        contact_sheet=out / "contact-sheet.html",
    )


def _settings(config: CurateConfig) -> dict[str, Any]:
    names = ("keep", "prototypes", "outliers", "duplicates", "splits", "views", "whiten", "seed")
    return {name: as_plain(getattr(config, name)) for name in names}


def _by_prototype(choice: Choice) -> list[dict[str, int]]:
    """Images of each prototype by zone, and how many are kept."""
    found = choice.found
    return [
        {
            **{z: int((mine & (found.zone == code)).sum()) for code, z in enumerate(ZONES)},
            "kept": int((mine & choice.keep).sum()),
        }
        for mine in (found.nearest == number for number in range(len(found.centres)))
    ]


def _draw(
    images: Candidates,
    left: NDArray[np.int64],
    points: Points,
    choice: Choice,
    result: CurateResult,
    out: Path,
) -> None:
    """Draw the contact sheet and the map."""
    shown = Shown(
        ids=[images.ids[place] for place in left],
        paths=[images.paths[place] for place in left],
        hidden=images.may_not_be_shown()[left],
        points=points,
        found=choice.found,
        keep=choice.keep,
        reason=choice.reason,
    )
    facts = {
        "curated": f"{result.curated:,} images of {result.patients:,} patients",
        "kept": f"{result.kept:,} images of {result.patients_kept:,} patients",
        "kept whole": f"{result.kept_whole:,} images of other splits",
        "compared by": f"{result.numbers}, {result.directions} directions",
        **{f"{reason}": f"{n:,} ({REASONS[reason]})" for reason, n in result.reasons.items()},
        **{f"label {name}": f"{n['images']:,}, kept {n['kept']:,}" for name, n in result.labels.items()},
    }
    write_sheet(out / "contact-sheet.html", shown, facts)
    write_map(out / "map.png", shown)
