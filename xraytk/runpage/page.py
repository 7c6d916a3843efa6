"""The page of a run: `write_page` reads the run folder alone, so that any page can be made again.

The page holds no path and no name of a host: it can be handed on.
"""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from xraytk.data.charts import bar
from xraytk.data.page import Html, document, joined, table, tag
from xraytk.files import atomic_write
from xraytk.progress import duration
from xraytk.records import RESEARCH_NOTICE
from xraytk.runpage.charts import chart
from xraytk.runpage.record import Record, read_record
from xraytk.runpage.style import STYLE
from xraytk.runpage.tables import STATES, commands_of, config_of, facts_of, sessions_of
from xraytk.train.curves import Series, names_in, parts_of, series_of

PAGE = "index.html"


def write_page(folder: Path) -> Path:
    """Write the page of a run from the files of its folder.

    Args:
        folder: Run folder of `pretrain` or `finetune`, of a run that goes on or has ended.

    Returns:
        The page's path: ``index.html`` in the folder.

    Raises:
        DataError: If the folder holds no run.
    """
    page = page_of(read_record(folder))
    with atomic_write(folder / PAGE, "w") as stream:
        stream.write(page)
    return folder / PAGE


def page_of(run: Record) -> str:
    """Make the page."""
    state = tag("span", STATES.get(run.state, run.state), class_=f"state {run.state}")
    said = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    parts = [
        tag("h1", f"{run.verb.capitalize()}: {run.name}", state),
        tag("p", " ".join(RESEARCH_NOTICE.values()), class_="notice"),
        tag("p", f"{_what(run)} Written {said} UTC.", class_="soft"),
        _tiles(run),
        bar(min(1.0, run.step / max(1, run.steps)), colours=(0,)),
        _curves(run),
        _painted(run),
        _validated(run),
        facts_of(run),
        sessions_of(run),
        commands_of(run),
        config_of(run),
    ]
    return document(f"{run.verb}: {run.name}", tag("main", joined(parts, "\n")), STYLE)


def _what(run: Record) -> str:
    about = run.about
    millions = f"{about['parameters'] / 1e6:,.1f} M parameters" if "parameters" in about else "a model"
    images = about.get("images", {}).get("train")
    on = f" on {images:,} training images" if images else ""
    what, batch = about.get("trained", "A model"), about.get("batch", "?")
    return f"{what}, {millions},{on} in {run.steps:,} steps of {batch}."


def _tiles(run: Record) -> Html:
    """The numbers that one looks for first."""
    last = run.trained[-1] if run.trained else {}
    settled = [line for line in run.trained if not line.get("warm_up")] or run.trained
    tiles: list[tuple[str, str]] = [(f"{run.step:,}", f"of {run.steps:,} steps")]
    if last:
        tiles.append((f"{last['loss']:.4g}", "loss"))
        tiles.append((_median(settled, "img_per_s", "{:,.3g}"), "images per second, median"))
        tiles.append((_median(settled, "data_wait", "{:.1%}"), "of the time waiting for data"))
        if "mfu" in last:
            tiles.append((_median(settled, "mfu", "{:.0%}"), "of the measured matmul peak (MFU)"))
        tiles.append(
            (f"{max(line['memory_gib'] for line in run.trained):.1f} GiB", "most memory of a process")
        )
    spent = sum(session.seconds for session in run.sessions)
    tiles.append((duration(spent), f"in {_count(len(run.sessions), 'session')}"))
    if run.state == "running" and last.get("eta_s"):
        tiles.append((duration(last["eta_s"]), "left, about"))
    return tag(
        "div", *(tag("div", tag("b", value), tag("span", said)) for value, said in tiles), class_="tiles"
    )


def _median(lines: list[dict[str, Any]], key: str, form: str) -> str:
    values = [line[key] for line in lines if key in line]
    return form.format(float(np.median(values))) if values else "-"


def _curves(run: Record) -> Html:
    """The charts of the log."""
    lines = run.lines
    marks = [session.first for session in run.sessions[1:]]
    losses = {"training": series_of(lines, "loss"), "validation": series_of(lines, "validation", "loss")}
    steps, wait = series_of(lines, "data_wait")
    use_steps, use = series_of(lines, "mfu")
    memory = {
        "used": series_of(lines, "memory_gib"),
        "reserved": series_of(lines, "reserved_gib"),
    }
    shares = {"waiting for data": (steps, 100 * wait), "MFU": (use_steps, 100 * use)}
    parts = parts_of(lines)
    of_loss = "Parts of the loss" if len(parts) != 1 else f"Part of the loss: {next(iter(parts))}"
    noisy: dict[str, Series] = {
        "Loss": losses,
        of_loss: parts,
        "Norm of the gradient": {"": series_of(lines, "grad_norm")},
    }
    calm: dict[str, Series] = {
        "Learning rate": {"": series_of(lines, "lr")},
        "Images per second": {"": series_of(lines, "img_per_s")},
        "Time waiting for data, use of the peak (%)": shares,
        "Memory of a process (GiB)": memory,
    }
    blocks = [(title, chart(title, series, marks, noisy=True)) for title, series in noisy.items()]
    blocks += [(title, chart(title, series, marks)) for title, series in calm.items()]
    shown = [tag("div", tag("h3", title), found, class_="block") for title, found in blocks if found]
    many = len(run.sessions) > 1
    said = tag("p", "Dashed: the run was gone on with from there.", class_="soft") if many else Html("")
    return joined([tag("h2", "Curves"), said, tag("div", *shown, class_="grid")]) if shown else Html("")


def _painted(run: Record) -> Html:
    """The last reconstructions, and the same images over the course of training."""
    figures = run.folder / "figures"
    sheets = [p for p in sorted(figures.glob("reconstruction-*.png")) if int(p.stem[-8:]) <= run.step]
    shown = []
    if (figures / "course.png").is_file():
        said = "The same images, with the same patches hidden, over the course of training."
        shown.append(_figure(figures / "course.png", said))
    if sheets:
        said = f"After step {int(sheets[-1].stem[-8:]):,}; the same images every time."
        shown.append(_figure(sheets[-1], said))
    return joined([tag("h2", "Reconstructions"), *shown]) if shown else Html("")


def _figure(path: Path, said: str) -> Html:
    """A picture of the run folder, as JPEG inside the page."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(path) as image:
        size = image.size
        image.convert("RGB").save(stream, "JPEG", quality=82)
    source = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    shown = tag("img", alt=said, width=size[0], height=size[1], src=source)
    return tag("figure", tag("div", shown, class_="wide"), tag("figcaption", said))


def _validated(run: Record) -> Html:
    """Validation of a finetuning: curves, and the scores of the last and of the best."""
    names = [name for name in names_in(run.lines, "validation") if name != "loss"]
    if not names:
        return Html("")
    marks = [session.first for session in run.sessions[1:]]
    blocks = []
    for name in names:
        drawn = chart(name, {"": series_of(run.lines, "validation", name)}, marks)
        if drawn:
            blocks.append(tag("div", tag("h3", name.replace("_", " ")), drawn, class_="block"))
    checked = [line for line in run.lines if "validation" in line]
    best = max(checked, key=lambda line: line["validation"].get("score", float("-inf")))
    rows = [
        (
            name.replace("_", " "),
            *(f"{line['validation'].get(name, float('nan')):.4g}" for line in (best, checked[-1])),
        )
        for name in names
    ]
    heads = ("", f"best, step {best['step']:,}", f"last, step {checked[-1]['step']:,}")
    return joined([tag("h2", "Validation"), tag("div", *blocks, class_="grid"), table(heads, rows)])


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
