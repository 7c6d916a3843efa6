from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from xraytk.errors import DataError, MachineError
from xraytk.train import checkpoint
from xraytk.train.saver import save


def made(width: int = 3, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    learner = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width))
    optimizer = torch.optim.AdamW(learner.parameters(), lr=0.1, fused=True)
    learner(torch.rand(2, 4)).square().sum().backward()
    optimizer.step()
    return learner, optimizer


def test_weights_and_optimizer_come_back_bit_for_bit(tmp_path: Path) -> None:
    learner, optimizer = made()
    path = save(tmp_path, 7, learner, optimizer, {"a": [1, {"b": None}]})
    assert path.name == "step-00000007"
    other, fresh = made(seed=1)
    assert checkpoint.load(path, other, fresh) == 7
    for one, two in zip(learner.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        for key, value in optimizer.state[one].items():
            assert torch.equal(value, fresh.state[two][key])


def test_only_safetensors_and_json_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = save(tmp_path, 1, *made(), {})
    assert sorted(p.name for p in path.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_no_checkpoint(tmp_path: Path) -> None:
    learner, optimizer = made()
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(MachineError):
        save(tmp_path / "run", 1, learner, optimizer, {})
    with pytest.raises(TypeError):  # state.json comes last
        save(tmp_path, 1, learner, optimizer, {("no", "json"): 1})  # type: ignore[dict-item]
    assert checkpoint.latest(tmp_path) is None
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_newest_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    for step in (9, 100, 20):
        save(tmp_path, step, *made(), {})
    (tmp_path / "step-00000999").mkdir()  # not whole: no state.json
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert newest.name == "step-00000100"
    checkpoint.prune(tmp_path, keep_last=1, keep_step=9)
    assert sorted(p.parent.name for p in tmp_path.glob("*/state.json")) == ["step-00000009", "step-00000100"]


def test_another_model_is_refused_with_names_and_shapes(tmp_path: Path) -> None:
    path = save(tmp_path, 1, *made(), {})
    with pytest.raises(DataError, match=r"0\.weight: found \(3, 4\), wanted \(5, 4\)"):
        checkpoint.load(path, *made(width=5))


def test_another_format_or_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1, *made(), {})
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(DataError, match="is broken"):
        checkpoint.load(path, *made())
    (path / "state.json").write_text('{"format": 3, "step": 1}')
    with pytest.raises(DataError, match="has format 3"):
        checkpoint.load(path, *made())


def test_an_optimizer_state_of_other_shapes_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1, *made(), {})
    state = load_file(path / "optimizer.safetensors")
    state["exp_avg/0.weight"] = torch.zeros(2, 2)
    save_file(state, path / "optimizer.safetensors")
    with pytest.raises(DataError, match=r"exp_avg/0\.weight of shape \(2, 2\)"):
        checkpoint.load(path, *made())


def test_a_full_disk_while_saving_is_a_machine_error_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from torch import nn\n"
        "import torch; from safetensors.torch import save_file; from xraytk import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with files.atomic_folder(Path(sys.argv[1])) as fresh:\n"
        "    save_file({'x': torch.zeros(10000)}, fresh / 'model.safetensors')\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "step")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "MachineError: no space left" in done.stderr
    assert list(tmp_path.iterdir()) == []
