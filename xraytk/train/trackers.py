"""Where the numbers and pictures of a run go beside its log: TensorBoard, Weights & Biases, MLflow.

Each tracker works in a thread of its own behind a queue: a server that does not answer holds up
no step, and a tracker that fails is left out from then on. What is sent is the configuration
without paths, the numbers of the log, and the figures.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from xraytk.errors import UsageError
from xraytk.files import write_json

LEAVE_S = 30.0
"""That a tracker has to send its rest when the run ends."""
IDS = "trackers.json"
"""File of a run folder with the run's name at each service, so that a resumed run goes on there."""
PROJECT = "xraytk"

_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
_NO_VALUES = ("step", "time", "eta_s", "warm_up")
_TENSORBOARD_PX = 1100


class Tracker(Protocol):
    """One place that is told of a run."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a line of the log."""
        ...

    def pictures(self, step: int, paths: Mapping[str, Path]) -> None:
        """Take pictures, by name."""
        ...

    def close(self, state: str) -> None:
        """End: "finished", "stopped" or "failed"."""
        ...


def check_loggers(loggers: tuple[str, ...]) -> None:
    """Check that what is wanted is known and installed.

    Raises:
        UsageError: If not; the message has the command that installs it.
    """
    for name in loggers:
        if name not in _PACKAGES:
            there = ", ".join(_PACKAGES)
            raise UsageError(f"there is no logger {name!r}", f"there are: {there}; TensorBoard is always on")
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise UsageError(f"the logger {name} is not installed", todo=f"Run: pip install 'xraytk[{name}]'")


def scalars_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a line of the log, those of its tables as ``table/name``."""
    found: dict[str, float] = {}
    for key, value in line.items():
        if isinstance(value, dict):
            found |= {f"{key}/{name}": float(one) for name, one in value.items() if _is_number(one)}
        elif key not in _NO_VALUES and _is_number(value):
            found[key] = float(value)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Post:
    """Hands messages to a tracker in a thread; when it fails, says so once and drops the rest.

    Args:
        name: Of the tracker.
        make: Makes it, within the thread: its package may take seconds to import.
        note: Says one line to a person.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], note: Callable[[str], None]) -> None:
        self._name, self._make, self._note = name, make, note
        self._queue: queue.SimpleQueue[Callable[[Tracker], None] | None] = queue.SimpleQueue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def send(self, message: Callable[[Tracker], None]) -> None:
        """Put a message in line; returns at once."""
        if not self._failed:
            self._queue.put(message)

    def close(self, state: str) -> None:
        """Send the rest and end; a tracker that takes too long is left behind."""
        self._queue.put(lambda tracker: tracker.close(state))
        self._queue.put(None)
        self._thread.join(LEAVE_S)
        if self._thread.is_alive():
            self._note(
                f"{self._name} did not take everything in {LEAVE_S:.0f} s; the run is whole without it"
            )

    def _work(self) -> None:
        try:
            tracker = self._make()
            while (message := self._queue.get()) is not None:
                message(tracker)
        except Exception as error:  # of a package that is not ours: the run must not end for it
            self._failed = True
            self._note(f"{self._name} failed ({type(error).__name__}); the run goes on without it")


class TensorBoard:
    """Writes an event file for each session of a run; what is written is on disk at once.

    Later sessions tell TensorBoard to forget the steps that they do again. torch's SummaryWriter
    is not used: it puts the name of the host into the name of the file.

    Args:
        folder: Run folder.
        step: Updates done when the session began.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        place = folder / "tensorboard"
        place.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1_000_000:013d}.xraytk.{os.getpid()}"
        self._out = RecordWriter((place / name).open("ab"))
        self._write(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=step + 1, session_log=start)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers."""
        found = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=found))

    def pictures(self, step: int, paths: Mapping[str, Path]) -> None:
        """Write pictures, made smaller: TensorBoard's check sum is slow."""
        found = []
        for name, path in paths.items():
            data, (width, height) = _small(path)
            image = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
            found.append(self._summary.Value(tag=name, image=image))
        self._write(step=step, summary=self._summary(value=found))

    def close(self, state: str) -> None:
        """Close the file."""
        self._out.close()

    def _write(self, **fields: Any) -> None:
        self._out.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        self._out.flush()


def _small(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture as JPEG of at most `_TENSORBOARD_PX` across, and its width and height."""
    from PIL import Image

    stream = io.BytesIO()
    with Image.open(path) as whole:
        image = whole.convert("RGB")
        image.thumbnail((_TENSORBOARD_PX, 4 * _TENSORBOARD_PX), reducing_gap=2.0)
        image.save(stream, "JPEG", quality=75)
        return stream.getvalue(), image.size


class Wandb:
    """Weights & Biases; its own settings (WANDB_MODE=offline ...) say where to.

    It is told nothing of the machine, the program, its arguments or the code.

    Args:
        folder: Run folder.
        name: Of the run.
        config: Plain values without paths.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb = wandb
        given = known_id(folder, "wandb") or secrets.token_hex(4)
        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            host="",
            program="",
            program_relpath="",
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name,
            id=given,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            settings=settings,
        )
        keep_id(folder, "wandb", given)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers; steps that are done again keep their first values."""
        self._run.log(dict(values), step=step)

    def pictures(self, step: int, paths: Mapping[str, Path]) -> None:
        """Log pictures."""
        self._run.log({name: self._wandb.Image(str(path)) for name, path in paths.items()}, step=step)

    def close(self, state: str) -> None:
        """Send the rest."""
        self._run.finish(exit_code=0 if state != "failed" else 1)


class Mlflow:
    """MLflow; at MLFLOW_TRACKING_URI, else in the run folder's ``mlflow/``.

    Args:
        folder: Run folder.
        name: Of the run.
        config: Plain values without paths.
    """

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        where = os.environ.get("MLFLOW_TRACKING_URI")
        if where is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            where = (folder / "mlflow").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=where)
        given, self._known = known_id(folder, "mlflow"), 0
        if given is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
            found = self._client.get_experiment_by_name(experiment)
            number = found.experiment_id if found else self._client.create_experiment(experiment)
            given = self._client.create_run(number, run_name=name).info.run_id
            for key, value in scalars_and_words(config).items():
                self._client.log_param(given, key, value)
            keep_id(folder, "mlflow", given)
        else:
            self._client.update_run(given, status="RUNNING")
            self._known = max((m.step for m in self._client.get_metric_history(given, "loss")), default=0)
        self._id = given

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers; steps that are done again keep their first values."""
        from mlflow.entities import Metric

        if step <= self._known:
            return
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._id, [Metric(k, v, now, step) for k, v in values.items()])

    def pictures(self, step: int, paths: Mapping[str, Path]) -> None:
        """Keep pictures as artifacts."""
        for path in paths.values():
            self._client.log_artifact(self._id, str(path), "figures")

    def close(self, state: str) -> None:
        """Say how it ended."""
        ends = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
        self._client.set_terminated(self._id, status=ends[state])


def scalars_and_words(config: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Values of a config as words by dotted key, of at most 500 letters."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= scalars_and_words(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = str(value)[:500]
    return found


def known_id(folder: Path, tracker: str) -> str | None:
    """Name of this run at a service; None when it is new there."""
    try:
        found = json.loads((folder / IDS).read_text(encoding="utf-8")).get(tracker)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def keep_id(folder: Path, tracker: str, given: str) -> None:
    """Write down the name of this run at a service."""
    with _IDS_LOCK:
        ids = {name: known for name in _PACKAGES if (known := known_id(folder, name)) is not None}
        write_json(folder / IDS, {**ids, tracker: given})


_IDS_LOCK = threading.Lock()
