"""``xraytk mask``: a lung contour for every frontal image, as polygons and as a share per patch.

Each finished group of images is a small table in ``parts``; the verb can be killed at any moment
and run again, and only the images without a row are looked at. What was found stays in
``found.parquet``; ``contours.parquet`` is that with what people said (``corrections``). Both are
sorted by ``image_id``, so their bytes depend on neither the number of workers nor interruptions.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xraytk.config import differences
from xraytk.data import manifest, pictures, pool, review
from xraytk.data.contour_rows import measured, row_of, table_of, with_corrections
from xraytk.data.deid import key_path, load_key
from xraytk.data.idmap import IdMap, default_path
from xraytk.data.outlines import place
from xraytk.data.outlines.bring import ImportResult, import_outlines
from xraytk.data.outlines.formats import FORMATS
from xraytk.data.outlines.give import ExportResult, export_outlines
from xraytk.data.outlines.labels import read_map
from xraytk.data.outlines.outline import REASONS
from xraytk.errors import DataError, RunConflictError, UsageError
from xraytk.files import (
    Workspace,
    atomic_folder,
    default_work,
    folder_lock,
    read_json,
    remove_leftovers,
    write_json,
)
from xraytk.progress import Progress, Silent
from xraytk.records import FRONTAL_VIEWS, as_plain
from xraytk.tasks import lungs

RETRIED = ("image-missing", "image-broken", "worker-died")
"""Reasons that belong to the file, not to the lungs: the next run looks at these images again."""

_PART = 64  # rows a part holds, and a kill may cost
_FEW = 24  # below this, starting processes takes longer than the work
_OVERLAY_PX = 640
_TILES = 64  # pictures on the contact sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskConfig:
    """What ``xraytk mask`` is asked to do.

    Args:
        work: The workspace.
        source: Ingest folder; the workspace's by default.
        out: Masks folder; the workspace's by default.
        workers: Processes; 0 for one a core. A few images are done in this one. Changes no byte
            of the output.
        grid: Rows and columns of the grid of shares over the letterboxed square. 20 fits
            patches of 64 pixels in a square of 1280.
        overlays: How many overlays to draw, failed and flagged images first.
        review: First let a person look at the contours on a local web page.
        port: Of that page; 0 for a free one.
        browser: Open it in a browser.
        imports: Files and folders of contours made with other tools; they become corrections.
        export: Write the contours in this format, one of `outlines.formats.FORMATS`, and do
            nothing else; ``out`` is then the folder of the export.
        masks: Masks folder that an export reads; the workspace's by default.
        label_map: JSON file from the labels of imported files to ours.
        key: Of the hashes, with the map of paths beside it: finds images by their sources' names
            and instances. Only read.
        show_paths: Say the names of imported rows that were refused, on the terminal only.
    """

    work: Path = field(default_factory=default_work)
    source: Path | None = None
    out: Path | None = None
    workers: int = 0
    grid: int = 20
    overlays: int = 64
    review: bool = False
    port: int = 0
    browser: bool = True
    imports: tuple[Path, ...] = ()
    export: str | None = None
    masks: Path | None = None
    label_map: Path | None = None
    key: Path | None = None
    show_paths: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more, found {self.workers}")
        if not 1 <= self.grid <= 256:
            raise UsageError(f"grid must be between 1 and 256, found {self.grid}")
        if self.overlays < 0:
            raise UsageError(f"overlays must be 0 or more, found {self.overlays}")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be between 0 and 65535, found {self.port}")
        if self.export is not None and self.export not in FORMATS:
            raise UsageError(f"export must be one of {', '.join(FORMATS)}, found {self.export!r}")
        if self.export is not None and self.imports:
            raise UsageError("import and export are two commands, found both")
        if self.masks is not None and self.export is None:
            raise UsageError(
                "masks is the folder that an export reads, found it without one",
                todo="Name the folder to write to with --out, or say --export FORMAT.",
            )


@dataclass(frozen=True, slots=True)
class MaskResult:
    """What ``xraytk mask`` found.

    Args:
        ok: Images with a contour that passed every check.
        flagged: Images with a contour that a person should look at.
        failed: Images without a contour.
        skipped: Images that are not frontal views.
        reasons: Number of images by reason, for all that are not ok.
        kept: Of all, how many had a row from an earlier run.
        out: The masks folder.
        contact_sheet: Failed and flagged images first; None when no overlay was drawn.
        imported: What an import brought; None when there was none.
        exported: What an export wrote; None when there was none.
    """

    ok: int
    flagged: int
    failed: int
    skipped: int
    reasons: dict[str, int]
    kept: int
    out: Path
    contact_sheet: Path | None
    imported: ImportResult | None = None
    exported: ExportResult | None = None


class _Job(NamedTuple):
    image_id: str
    path: Path
    width: int
    height: int
    spacing_mm: tuple[float, float] | None
    grid: int


def run(config: MaskConfig, progress: Progress | None = None) -> MaskResult:
    """Find the lungs in every frontal image of an ingest folder.

    Args:
        config: What to do.
        progress: Where to report to.

    Returns:
        The counts; the tables and pictures are in the folder.

    Raises:
        DataError: If there is no manifest, or it has no images.
        RunConflictError: If the folder is in use or holds contours of other settings.
        MachineError: If the disk is full, or worker processes cannot start.
    """
    progress = progress or Silent()
    workspace = Workspace(config.work)
    source, out = config.source or workspace.ingest, config.out or workspace.masks
    if config.export is not None:
        return _export(config, source, config.masks or workspace.masks, progress)
    if config.review:
        if not (out / "contours.parquet").exists():
            run(replace(config, review=False), progress)
        review.run(out, source, port=config.port, browser=config.browser, progress=progress)
    columns = ["image_id", "path", "view", "width", "height", "spacing_y_mm", "spacing_x_mm"]
    images = manifest.read_table(source / "manifest", manifest.MANIFEST, "xraytk ingest", columns)
    if images.num_rows == 0:
        raise DataError(
            f"the manifest in {source} has no images", todo="Run `xraytk ingest` on a folder with some."
        )
    images = images.sort_by("image_id")
    with folder_lock(out):
        remove_leftovers(out)
        _claim(out, config.grid, progress)
        imported = _import(config, source, out, progress) if config.imports else None
        done = _finished(out, images, progress)
        missing = images.filter(pc.invert(pc.is_in(images["image_id"], done["image_id"])))
        found = _complete(config, source, out, missing, done, progress)
        table = with_corrections(found, images, out / "corrections", progress.note)
        manifest.write_whole(out / "contours.parquet", table)
        sheet = _draw(config, source, out, table, images, progress)
        result = replace(_summary(table, done.num_rows, out, sheet), imported=imported)
        write_json(out / "summary.json", {"format": manifest.FORMAT, **as_plain(result)})
    return result


def _import(config: MaskConfig, source: Path, out: Path, progress: Progress) -> ImportResult:
    """Make corrections of other people's contours."""
    images = manifest.read_table(source / "manifest", manifest.MANIFEST, "xraytk ingest", place.COLUMNS)
    key_file = key_path(config.key)
    with contextlib.ExitStack() as stack:
        paths = None
        if default_path(key_file).exists():
            paths = stack.enter_context(IdMap(default_path(key_file), outside=out)).items
        result = import_outlines(
            config.imports,
            images,
            out / "corrections",
            key=load_key(key_file, outside=out) if key_file.exists() else None,
            sources=paths,
            dicom=source / "dicom",
            label_map=read_map(config.label_map) if config.label_map else None,
            rejected=out / "rejected.parquet",
            show_paths=config.show_paths,
            progress=progress,
        )
    for reason, count in result.refused.items():
        progress.note(f"{count} not imported, {reason}: {REASONS[reason]}")
    return result


def _export(config: MaskConfig, source: Path, masks: Path, progress: Progress) -> MaskResult:
    """Write the contours of a masks folder in another format, and nothing else."""
    images = manifest.read_table(source / "manifest", manifest.MANIFEST, "xraytk ingest", place.COLUMNS)
    table = manifest.read_table(masks / "contours.parquet", manifest.CONTOURS, "xraytk mask")
    assert config.export is not None
    out = config.out or masks / f"export-{config.export}"
    if out.resolve() == masks.resolve() or (out / "found.parquet").exists():
        raise UsageError("the export would be written over contours", todo="Choose another --out.")
    exported = export_outlines(table, images, config.export, out, dicom=source / "dicom", progress=progress)
    return replace(_summary(table, table.num_rows, out, None), exported=exported)


def _claim(out: Path, grid: int, progress: Progress) -> None:
    """Write the settings on which the rows depend, or compare with those that are there.

    Rows of another version of the lung net are dropped; what people said of them stays.
    """
    path = out / "settings.json"
    wanted = {"format": manifest.FORMAT, "grid": grid, "method": lungs.version()}
    if path.exists():
        found = read_json(path, "xraytk mask")
        if lines := differences(found | {"method": ""}, wanted | {"method": ""}):
            raise RunConflictError(
                f"{out} holds contours of other settings",
                "\n".join(lines),
                "Choose another folder with --out, or remove this one.",
            )
        if found == wanted:
            return
        progress.note("the lung net is another than in the earlier run: all contours are found anew")
        (out / "found.parquet").unlink(missing_ok=True)
        shutil.rmtree(out / "parts", ignore_errors=True)
    write_json(path, wanted)


def _finished(out: Path, images: pa.Table, progress: Progress) -> pa.Table:
    """Rows of earlier runs that still fit the manifest, sorted by image_id."""
    tables = [manifest.CONTOURS.empty_table()]
    for file in [*sorted((out / "parts").glob("*.parquet")), out / "found.parquet"]:
        try:
            if file.exists():
                tables.append(manifest.read_table(file, manifest.CONTOURS, "xraytk mask"))
        except DataError as error:
            progress.note(f"{error.what}: its images are looked at again")
    rows = pa.concat_tables(tables)
    wanted = {
        image_id: (width, height, view in FRONTAL_VIEWS)
        for image_id, view, width, height in _columns(images, "image_id", "view", "width", "height")
    }
    kept: dict[str, int] = {}
    facts = _columns(rows, "image_id", "reason", "width", "height")
    for i, (image_id, reason, width, height) in enumerate(facts):
        if reason not in RETRIED and wanted.get(image_id) == (width, height, reason != "not-frontal"):
            kept.setdefault(image_id, i)
    return rows.take(pa.array([kept[image_id] for image_id in sorted(kept)], pa.int64()))


def _columns(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)


def _complete(
    config: MaskConfig, source: Path, out: Path, missing: pa.Table, done: pa.Table, progress: Progress
) -> pa.Table:
    """Look at the images without a row, and write the whole table."""
    jobs, skipped = [], []
    for image_id, path, view, width, height, *spacing in _columns(
        missing, "image_id", "path", "view", "width", "height", "spacing_y_mm", "spacing_x_mm"
    ):
        spacing_mm = None if None in spacing else (spacing[0], spacing[1])
        job = _Job(image_id, source / path, width, height, spacing_mm, config.grid)
        if view in FRONTAL_VIEWS:
            jobs.append(job)
        else:
            skipped.append(_row(job, "skipped", "not-frontal"))
    tables, counts = [done, table_of(skipped)], Counter[str]()
    part: list[dict[str, Any]] = []
    workers = config.workers if len(jobs) >= _FEW else 1
    finished = contextlib.closing(pool.each(_find, jobs, workers))
    with progress.task("mask", len(jobs)) as task, finished as finished_jobs:
        try:
            for n, (job, found) in enumerate(finished_jobs, 1):
                row = found or _row(job, "failed", "worker-died")
                part.append(row)
                counts[row["status"]] += 1
                task.update(n, flagged=counts["flagged"], failed=counts["failed"])
                if len(part) == _PART:
                    tables.append(_write_part(out, part))
                    part = []
        finally:
            if part:
                tables.append(_write_part(out, part))
    table = pa.concat_tables(tables).sort_by("image_id").combine_chunks()
    manifest.write_whole(out / "found.parquet", table)
    shutil.rmtree(out / "parts", ignore_errors=True)
    return table


def _write_part(out: Path, rows: list[dict[str, Any]]) -> pa.Table:
    # Named by an image that no other part holds: counting parts would list them all each time.
    manifest.write_table(out / "parts" / f"{rows[0]['image_id']}.parquet", manifest.CONTOURS, rows)
    return table_of(rows)


def _row(job: _Job, status: str, reason: str) -> dict[str, Any]:
    return row_of(job.image_id, (job.width, job.height), job.grid, status, reason)


def _find(job: _Job) -> dict[str, Any]:
    """Read one image and find its lungs; whatever is wrong with it becomes a reason."""
    try:
        image = pictures.read_png(job.path)
    except (DataError, OSError):
        return _row(job, "failed", "image-broken" if job.path.exists() else "image-missing")
    if image.shape != (job.height, job.width):
        return _row(job, "failed", "image-broken")
    found = lungs.find(image)
    row = _row(job, found.status, found.reason)
    row |= {"confidence": found.confidence, "source": found.source}
    return measured(row, found.polygons, found.others, job.spacing_mm)


def _draw(
    config: MaskConfig, source: Path, out: Path, table: pa.Table, images: pa.Table, progress: Progress
) -> Path | None:
    """Draw overlays by rising confidence: failed ones, half of the rest worst first, and some of all."""
    facts = table.select(["image_id", "status", "reason", "confidence"]).to_pylist()
    some = [i for i, row in enumerate(facts) if row["status"] != "skipped" and row["reason"] not in RETRIED]
    order = sorted(some, key=lambda i: (facts[i]["confidence"] or 0.0, facts[i]["image_id"]))
    worst, rest = order[: config.overlays // 2], order[config.overlays // 2 :]
    room = min(config.overlays - len(worst), len(rest))
    chosen = worst + [rest[i * len(rest) // room] for i in range(room)]
    if not chosen:
        shutil.rmtree(out / "overlays", ignore_errors=True)
        (out / "contact-sheet.png").unlink(missing_ok=True)
        return None
    paths = dict(zip(images["image_id"].to_pylist(), images["path"].to_pylist(), strict=True))
    sheet = out / "contact-sheet.png"
    tiles: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
    captions: list[str] = []
    with progress.task("overlays", len(chosen)) as task, atomic_folder(out / "overlays") as folder:
        for n, row in enumerate(table.take(chosen).to_pylist(), 1):
            try:
                overlay = _overlay(source / paths[row["image_id"]], row)
            except DataError:  # gone since its row was made
                continue
            fine, data = cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, 88])
            assert fine, "OpenCV encodes every 8-bit picture"
            (folder / f"{row['image_id']}.jpg").write_bytes(data.tobytes())
            if len(tiles) < _TILES:
                tiles.append(overlay)
            sure = "" if row["confidence"] is None else f"{row['confidence']:.2f}"
            said = row["reason"] or row["checked"] or row["status"]
            captions.append(" ".join(filter(None, [row["image_id"][:8], sure, said])))
            task.update(n)
        pictures.write_png(sheet, pictures.montage(tiles, captions[: len(tiles)]))
    return sheet


def _overlay(path: Path, row: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = pictures.to_8bit(pictures.read_png(path))
    scale = min(1.0, _OVERLAY_PX / max(image.shape))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    color = pictures.LUNG_BGR if row["status"] == "ok" else pictures.FLAG_BGR
    for polygons, drawn in ((row["others"], pictures.CLEAR_BGR), (row["polygons"], color)):
        moved = [
            {"x": (np.asarray(p["x"]) + 0.5) * scale - 0.5, "y": (np.asarray(p["y"]) + 0.5) * scale - 0.5}
            for p in polygons
        ]
        small = pictures.draw_polygons(small, moved, drawn)
    return np.asarray(small, np.uint8)


def _summary(table: pa.Table, kept: int, out: Path, sheet: Path | None) -> MaskResult:
    def count(column: str, rows: pa.Table) -> dict[str, int]:
        return {c["values"]: c["counts"] for c in pc.value_counts(rows[column]).to_pylist()}

    status = count("status", table)
    reasons = count("reason", table.filter(pc.not_equal(table["status"], "ok")))
    return MaskResult(
        ok=status.get("ok", 0),
        flagged=status.get("flagged", 0),
        failed=status.get("failed", 0),
        skipped=status.get("skipped", 0),
        reasons=dict(sorted(reasons.items())),
        kept=kept,
        out=out,
        contact_sheet=sheet,
    )
