"""Files of predictions and references, written as people write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EN = [
    "The heart is normal in size. The lungs are clear.",
    "There is a small left pleural effusion. No pneumothorax.",
    "Mild cardiomegaly. No focal consolidation.",
    "Right lower lobe pneumonia. The heart is enlarged.",
]
ZH = [
    "心影不大，双肺清晰。",
    "左侧少量胸腔积液，未见气胸。",
    "心影增大，未见实变。",
    "右下肺炎症，心影增大。",
]


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSONL."""

    def write(name: str, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def texts() -> dict[str, list[str]]:
    """Four reports of each language."""
    return {"en": EN, "zh": ZH}


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text as a file."""

    def write(name: str, text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write
