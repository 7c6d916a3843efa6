"""Shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# One thread a process: the tests run beside others, and repeatable sums need a fixed number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public radiographs; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the public radiographs in ../shared/data, which are not part of the project")
    return SHARED_DATA.resolve()


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs ``xraytk`` commands as new processes do, without their seconds of importing."""
    sys.path.insert(0, str(Path(__file__).parent))
    from preloaded import Preloaded

    server = Preloaded(tmp_path_factory.mktemp("preloaded"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def forks() -> None:
    """The fork server behind `launch` imports the verbs once, not in both processes of every launch."""
    sys.path.insert(0, str(Path(__file__).parent))
    from multiprocessing import forkserver, resource_tracker

    from preloaded import HEAVY

    forkserver.set_forkserver_preload(list(HEAVY))
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # as `launch` does
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


LONG = (
    "test_readme.py",
    "test_ingest_kill.py",
    "test_examples.py",
    "test_demo.py",
    "test_evaluate.py",
    "test_finetune.py",
    "test_pretrain.py",
    "test_two_ranks.py",
    "test_train_default_model.py",
    "test_launch.py",
    "test_ingest.py",
    "test_evaluate_probes.py",
    "test_ingest_curation.py",
    "test_pretrain_reports.py",
    "test_reporting.py",
)
"""Files that take the longest, longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process is left alone with one at the end."""
    rank = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


SHAPE_EN = ("No finding.", "Left nodule.", "Right nodule.", "Right effusion. Left nodule.")
SHAPE_ZH = ("未见异常。", "左肺结节。", "右肺结节。", "右侧积液，左肺结节。")
SHAPE_VIT = {"image_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 4}


def write_shapes(work: Path, splits: dict[str, int]) -> Path:
    """Fill a workspace's shards with pictures of squares, whose place says report and labels.

    Args:
        work: The workspace.
        splits: Images of each split; every patient has two.
    """
    import numpy as np

    from xraytk import shard
    from xraytk.data import manifest, pictures

    rows, reports, labels = [], [], []
    for split in [name for name, count in splits.items() for _ in range(count)]:
        number = len(rows)
        kind = number % 4
        picture = np.zeros((64, 64), np.uint16)
        top, left = divmod(kind, 2)
        picture[top * 32 + 6 : top * 32 + 26, left * 32 + 6 : left * 32 + 26] = (248 + number % 8) * 257
        name = f"{number:016x}"
        path = f"images/{name[:2]}/{name}.png"
        pictures.write_png(work / "ingest" / path, picture)
        rows.append(
            {
                "image_id": name,
                "patient_hash": f"{splits[split]}{number // 2:014x}",
                "study_hash": name,
                "split": split,
                "path": path,
                "view": "PA",
                **dict.fromkeys(("width", "height", "source_width", "source_height"), 64),
            }
        )
        reports.append({"image_id": name, "en": SHAPE_EN[kind], "zh": SHAPE_ZH[kind]})
        values = {"Top": float(kind < 2), "Left": float(kind % 2 == 0), "Never": 0.0}
        labels += [{"image_id": name, "label": label, "value": value} for label, value in values.items()]
    ingest = work / "ingest"
    manifest.write_table(ingest / "manifest" / "part-00000.parquet", manifest.MANIFEST, rows)
    manifest.write_table(ingest / "reports.parquet", manifest.REPORTS, reports)
    manifest.write_table(ingest / "labels.parquet", manifest.LABELS, labels)
    shard.run(shard.ShardConfig(work=work, workers=1))
    return work


def shapes_config(work: Path, task: str, **more: Any) -> Any:
    """Settings that finetune on `write_shapes` in seconds."""
    from xraytk import config, finetune

    tree = {
        "work": str(work),
        "task": task,
        "init": "none",
        "encoder": SHAPE_VIT,
        "decoder": {"width": 32, "depth": 1, "heads": 4, "max_tokens": 20, "min_count": 1, "dropout": 0.0},
        "optim": {"lr": 5e-3, "beta2": 0.95, "layer_decay": 1.0},
        "batch": 8,
        "steps": 240,
        "validate_every": 40,
        "save_every": 20,
        "machine": {"device": "cpu"},
    }
    return config.build(finetune.FinetuneConfig, {**tree, **more})


@pytest.fixture(scope="session")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a finished report run and a finished disease run; read it only."""
    from xraytk import finetune

    work = write_shapes(tmp_path_factory.mktemp("shapes"), {"train": 32, "val": 8, "test": 9})
    for task in ("report", "classify"):
        finetune.run(shapes_config(work, task))
    return work


@pytest.fixture(scope="session")
def shapes() -> SimpleNamespace:
    """`write_shapes` and `shapes_config`, for tests that need their own workspace."""
    return SimpleNamespace(write=write_shapes, config=shapes_config, vit=SHAPE_VIT)
