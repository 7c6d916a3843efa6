from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from xraytk.errors import UsageError
from xraytk.train import trackers
from xraytk.train.trackers import Mlflow, Post, TensorBoard, Wandb, check_loggers, known_id, scalars_of
from xraytk.train.watch import HIDDEN, Watch, public, watching

CONFIG = {"name": "run", "batch": 4, "optim": {"lr": 1e-3}}


def there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "sheet.png"
    cv2.imwrite(str(path), np.zeros((30, 2200, 3), np.uint8))
    return path


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def test_tensorboard_shows_no_step_twice_after_a_killed_session(tmp_path: Path, picture: Path) -> None:
    first = TensorBoard(tmp_path, 0)
    for step in range(1, 9):
        first.scalars(step, {"loss": 1.0, "parts/inside": 2.0})
    first.pictures(8, {"reconstruction": picture})
    time.sleep(0.002)  # the file of a session is named by its time
    second = TensorBoard(tmp_path, 4)
    for step in range(5, 11):
        second.scalars(step, {"loss": 3.0})
    second.pictures(10, {"reconstruction": picture})
    second.close("finished")
    found = events(tmp_path)
    first.close("failed")  # as late as never
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [
        *((step, 1.0) for step in range(1, 5)),
        *((step, 3.0) for step in range(5, 11)),
    ]
    assert [e.step for e in found.Scalars("parts/inside")] == [1, 2, 3, 4]
    (image,) = found.Images("reconstruction")
    assert (image.step, image.width, image.height) == (10, 1100, 15)


def test_the_name_of_an_event_file_has_no_name_of_the_host(tmp_path: Path) -> None:
    TensorBoard(tmp_path, 0).close("finished")
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert path.name.split(".")[4] == "xraytk"


def test_numbers_of_a_line_are_flat_and_hold_no_time() -> None:
    line = {"step": 3, "time": 9.0, "loss": 1, "parts": {"inside": 2.0}, "eta_s": 4.0, "warm_up": True}
    assert scalars_of(line) == {"loss": 1.0, "parts/inside": 2.0}


def test_a_tracker_that_fails_is_noted_once_and_the_run_goes_on(tmp_path: Path) -> None:
    notes: list[str] = []

    class Broken:
        def scalars(self, step: int, values: Any) -> None:
            raise ConnectionError("https://example.org/patient-name")

        def pictures(self, step: int, paths: Any) -> None: ...

        def close(self, state: str) -> None: ...

    post = Post("broken", Broken, notes.append)
    for step in range(5):
        post.send(lambda tracker, step=step: tracker.scalars(step, {}))  # type: ignore[misc]
    post.close("finished")
    assert notes == ["broken failed (ConnectionError); the run goes on without it"]


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no logger 'tensorbord'"):
        check_loggers(("tensorbord",))


@pytest.mark.skipif(there("wandb"), reason="wandb is installed")
def test_a_logger_that_is_not_installed_is_refused_with_the_command() -> None:
    with pytest.raises(UsageError, match=r"pip install 'xraytk\[wandb\]'"):
        check_loggers(("wandb",))


def test_no_tracker_is_told_of_a_path() -> None:
    told = public(
        {"work": "/a", "shards": "/b", "out": "/c", "init": "/d", "select": "/e", "cache": {}, "batch": 4}
    )
    assert told == {"batch": 4}
    nested = {
        "options": {"text": {"model": "wang_li", "langs": ["en"], "width": 8}, "atlas": r"C:\\wang.npz"},
        "labels": {"uncertain": "ignore", "uncertain_from": "wang"},
        "head": {"text": "openai/clip", "kind": "vtb"},
        "decoder": {"vocabulary": "r2gen"},
        "extra": ["radgraph", "~/wang", {"deep": "../wang"}],
        "resume": "wang",
        "objective": "mine:Mine",
    }
    assert public(nested) == {
        "options": {"text": {"model": HIDDEN, "langs": ["en"], "width": 8}, "atlas": HIDDEN},
        "labels": {"uncertain": "ignore"},
        "head": {"text": HIDDEN, "kind": "vtb"},
        "decoder": {"vocabulary": "r2gen"},
        "extra": ["radgraph", HIDDEN, {"deep": HIDDEN}],
        "objective": "mine:Mine",
    }


def test_sessions_are_listed_with_how_they_ended(tmp_path: Path) -> None:
    from xraytk.errors import InterruptedRunError
    from xraytk.train.journal import read

    for error in (InterruptedRunError("stopped"), RuntimeError(), None):
        watch = Watch(tmp_path, about={"verb": "pretraining"})
        watch.begin(3, {"device": "CPU"})
        try:
            with watching(watch):
                watch.line({"step": 5, "loss": 1.0})
                if error is not None:
                    raise error
        except (InterruptedRunError, RuntimeError):
            pass
    lines = read(tmp_path / "sessions.jsonl")
    assert [(line["event"], line["step"], line.get("state")) for line in lines] == [
        pair
        for state in ("stopped", "failed", "finished")
        for pair in (("begin", 3, None), ("end", 5, state))
    ]


@pytest.mark.skipif(not there("wandb"), reason="needs the extra wandb")
def test_wandb_goes_on_with_its_run_without_a_network(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    names = set()
    for step in (1, 2):
        run = Wandb(tmp_path, "run", CONFIG)
        run.scalars(step, {"loss": 1.0})
        run.pictures(step, {"reconstruction": picture})
        run.close("stopped")
        names.add(known_id(tmp_path, "wandb"))
    assert len(names) == 1
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) in (1, 2)  # by the second


@pytest.mark.skipif(not there("mlflow"), reason="needs the extra mlflow")
def test_mlflow_goes_on_with_its_run_in_a_folder_and_shows_no_step_twice(
    tmp_path: Path, picture: Path
) -> None:
    for steps, state in ((range(1, 6), "stopped"), (range(4, 9), "finished")):
        run = Mlflow(tmp_path, "run", CONFIG)
        for step in steps:
            run.scalars(step, {"loss": 1.0 / step})
        run.pictures(steps[-1], {"reconstruction": picture})
        run.close(state)
    given = known_id(tmp_path, "mlflow")
    assert given is not None
    history = run._client.get_metric_history(given, "loss")
    assert sorted(metric.step for metric in history) == list(range(1, 9))
    assert run._client.get_run(given).data.params == {"name": "run", "batch": "4", "optim.lr": "0.001"}
    assert run._client.get_run(given).info.status == "FINISHED"


def test_ids_of_several_services_stand_in_one_file(tmp_path: Path) -> None:
    trackers.keep_id(tmp_path, "wandb", "a")
    trackers.keep_id(tmp_path, "mlflow", "b")
    assert (known_id(tmp_path, "wandb"), known_id(tmp_path, "mlflow")) == ("a", "b")
