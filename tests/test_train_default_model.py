from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xraytk import report

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_default_model.py"


@pytest.mark.slow
def test_the_default_model_can_be_made_again(tmp_path: Path, preloaded: Any) -> None:
    options = ["--phantoms", "6", "--fresh", "2", "--steps", "2", "2", "--size-px", "128", "--workers", "1"]
    done = preloaded.script(EXAMPLE, "--out", tmp_path / "model", *options)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "MODEL_CARD.md", "scores.json"}
    assert names == {path.name for path in report.default_model().iterdir()}
