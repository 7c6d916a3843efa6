"""Tables of a run's page: model, data, machine, sessions, commands, configuration."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import tomli_w

from xraytk.data.page import Html, joined, table, tag
from xraytk.progress import duration
from xraytk.runpage.record import Record, Session

STATES = {
    "running": "running",
    "finished": "finished",
    "stopped": "stopped, saved",
    "failed": "failed",
    "killed": "ended without a word",
}
"""What a state is called on the page."""


def facts_of(run: Record) -> Html:
    """What was trained, on which data, on which machine."""
    about, machine = run.about, run.sessions[-1].machine
    images = about.get("images", {})
    model: dict[str, Any] = {
        "trained": about.get("trained"),
        "parameters": _millions(about.get("parameters")),
        "of the encoder": _millions(about.get("encoder_parameters")),
        "encoder": about.get("encoder"),
        "operations of an image": _gflop(about.get("flops_per_image")),
        "started from": about.get("init"),
    }
    data = {
        "training images": _number(images.get("train")),
        "validation images": _number(images.get("val")),
        "chosen by a selection": "yes" if about.get("selected") else None,
        "broken, left out": _number(run.skipped) if run.skipped else "none",
        "batch": about.get("batch"),
        "fingerprint of the shards": about.get("shards"),
    }
    on = {
        "device": machine.get("device"),
        "processes": machine.get("processes"),
        "threads of a process": machine.get("threads"),
        "matrix products in": machine.get("precision"),
        "measured matmul peak": f"{machine['peak_tflops']:.3g} TFLOP/s"
        if machine.get("peak_tflops")
        else None,
        "software": ", ".join(
            f"{key} {machine[key]}" for key in ("xraytk", "torch", "python") if key in machine
        ),
    }
    blocks = (
        tag("div", tag("h3", title), _pairs(facts.items()), class_="block")
        for title, facts in (("Model", model), ("Data", data), ("Machine", on))
    )
    return joined([tag("h2", "What was trained, on what"), tag("div", *blocks, class_="grid")])


def sessions_of(run: Record) -> Html:
    """Every call of the verb, and the checkpoints that are there."""
    rows = [_session(i + 1, session) for i, session in enumerate(run.sessions)]
    parts = [
        tag("h2", "Sessions and checkpoints"),
        tag("div", table(("", "began (UTC)", "steps", "time", "ended", "on"), rows), class_="wide"),
    ]
    if run.checkpoints:
        listed = ", ".join(f"step {step:,} ({size / 1e6:,.0f} MB)" for step, size in run.checkpoints)
        parts.append(tag("p", f"Checkpoints: {listed}."))
    if run.trained:
        shown = {key: value for key, value in run.trained[-1].items() if key not in ("time",)}
        rows_of = [(key.replace("_", " "), _plain(value)) for key, value in shown.items()]
        parts.append(tag("details", tag("summary", "Last line of the log"), _pairs(rows_of)))
    return joined(parts)


def _session(number: int, session: Session) -> tuple[object, ...]:
    began = time.strftime("%Y-%m-%d %H:%M", time.gmtime(session.began))
    on = f"{session.machine.get('processes', '?')} × {session.machine.get('device', '?')}"
    state = tag("span", STATES.get(session.state, session.state), class_=session.state)
    return number, began, f"{session.first:,} to {session.last:,}", duration(session.seconds), state, on


def commands_of(run: Record) -> Html:
    """Commands that go on from here; RUN stands for the folder of the page."""
    commands = []
    if run.state != "finished":
        commands.append((f"xraytk {_command(run)} --config RUN/config.toml", "goes on where it stopped"))
    if run.verb == "pretraining":
        commands.append(("xraytk finetune report --init RUN", "trains a model that writes reports"))
        commands.append(("xraytk finetune classify --init RUN", "trains one that names diseases"))
    else:
        commands.append(("xraytk evaluate --checkpoint RUN", "scores it on the test split, once, at the end"))
    commands.append(("tensorboard --logdir RUN/tensorboard", "shows the numbers and figures in a browser"))
    wide = max(len(command) for command, _ in commands)
    lines = "\n".join(f"{command:<{wide}}  # {said}" for command, said in commands)
    said = "RUN is the folder of this page. Paths in config.toml are as they were given at the start."
    return joined([tag("h2", "To go on"), tag("pre", lines), tag("p", said, class_="soft")])


def _command(run: Record) -> str:
    return "pretrain" if run.verb == "pretraining" else f"finetune {run.config.get('task', 'report')}"


def config_of(run: Record) -> Html:
    """The configuration, without paths."""
    rows = [
        (f"{group}.{key}" if group else key, _plain(value))
        for group, values in _groups(run.config)
        for key, value in values.items()
    ]
    parts = [
        tag("h2", "Configuration"),
        tag("p", "Without paths.", class_="soft"),
        tag("details", tag("summary", "as a table"), _pairs(rows)),
        tag("details", tag("summary", "as TOML"), tag("pre", tomli_w.dumps(run.config))),
    ]
    return joined(parts)


def _groups(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    plain = {key: value for key, value in config.items() if not isinstance(value, dict)}
    return [("", plain), *((key, value) for key, value in config.items() if isinstance(value, dict))]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _millions(value: int | None) -> str | None:
    return None if value is None else f"{value / 1e6:,.2f} M"


def _gflop(value: float | None) -> str | None:
    return f"{value / 1e9:,.3g} GFLOP forward and backward" if value else None


def _pairs(pairs: Iterable[tuple[str, Any]]) -> Html:
    rows = (
        tag("tr", tag("th", key, scope="row"), tag("td", _plain(value)))
        for key, value in pairs
        if value not in (None, "")
    )
    return tag("table", *rows)
