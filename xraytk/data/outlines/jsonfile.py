"""Reading of JSON that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xraytk.data.outlines.outline import MOST_BYTES, RefusedError


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RefusedError: If it is none, cut short, or too large to be held.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RefusedError("not-readable", f"more than {MOST_BYTES} bytes")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedError("not-readable", type(error).__name__) from None
    if not isinstance(value, dict):
        raise RefusedError("not-readable", "no object")
    return value


def list_of(value: Any) -> list[Any]:
    """The value, where it is a list; [] where there is none.

    Raises:
        RefusedError: If it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise RefusedError("not-readable", "no list")
    return value
