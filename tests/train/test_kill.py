from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import torch
from safetensors.torch import load_file

from xraytk.train import checkpoint
from xraytk.train.journal import read

TIMES = {"time", "img_per_s", "data_wait", "memory_gib", "mfu", "tflops", "eta_s", "warm_up"}


def kill_when_told(folder: Path, *words: str) -> None:
    """Start a run, and kill -9 it when it has written the file ``now``."""
    folder.mkdir()
    given = [sys.executable, str(Path(killed_run.__file__)), str(folder), *words]
    process = subprocess.Popen(given, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        for _ in range(1200):
            if (folder / "now").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / "now").unlink()


def files(folder: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.latest(folder)
    assert newest is not None
    assert newest.name == "step-00000020"
    return {
        f"{path.name}:{k}": v for path in newest.glob("*.safetensors") for k, v in load_file(path).items()
    }


def log(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read(folder / "log.jsonl")]


def test_ten_steps_a_kill_and_ten_steps_equal_twenty_bit_for_bit_in_processes(tmp_path: Path) -> None:
    killed_run.train(tmp_path / "whole")
    kill_when_told(tmp_path / "cut", "14")  # four steps that the checkpoint does not know
    kill_when_told(tmp_path / "write", "20", "hang")  # while the checkpoint of step 20 is written
    assert [p.name for p in (tmp_path / "write").glob(".tmp-*")] == [".tmp-step-00000020"]
    for name in ("cut", "write"):
        newest = checkpoint.latest(tmp_path / name)
        assert newest is not None
        assert newest.name == "step-00000010"
        killed_run.train(tmp_path / name)
        whole, cut = files(tmp_path / "whole"), files(tmp_path / name)
        assert whole.keys() == cut.keys()
        assert {key.partition(":")[0] for key in cut} == {
            f"{kind}.safetensors" for kind in ("model", "ema", "optimizer")
        }
        assert [key for key in whole if not torch.equal(whole[key], cut[key])] == []
        assert log(tmp_path / "whole") == log(tmp_path / name)
        assert not list((tmp_path / name).glob(".tmp-*"))
