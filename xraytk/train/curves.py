"""The loss and learning-rate curves of a run, drawn from its log."""

from __future__ import annotations

from pathlib import Path

from xraytk.files import atomic_write
from xraytk.train.journal import read


def draw_curves(folder: Path) -> Path:
    """Draw ``figures/loss.png`` of a run folder from its ``log.jsonl``.

    Args:
        folder: Run folder.

    Returns:
        The picture's path.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    lines = read(folder / "log.jsonl")
    trained = [line for line in lines if "loss" in line]
    checked = [line for line in lines if "loss" in line.get("validation", {})]
    steps = [line["step"] for line in trained]
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot(steps, [line["loss"] for line in trained], lw=1.2, label="training")
    if checked:
        values = [line["validation"]["loss"] for line in checked]
        above.plot([line["step"] for line in checked], values, "o-", ms=3, lw=1.2, label="validation")
        above.legend(frameon=False)
    above.set(ylabel="loss", title=folder.name)
    below.plot(steps, [line["lr"] for line in trained], lw=1.2, color="tab:gray")
    below.set(xlabel="step", ylabel="learning rate")
    below.ticklabel_format(axis="y", scilimits=(0, 0))
    for axes in (above, below):
        axes.grid(alpha=0.3)
    path = folder / "figures" / "loss.png"
    with atomic_write(path) as stream:
        canvas.print_png(stream)  # type: ignore[no-untyped-call]
    return path
