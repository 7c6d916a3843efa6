"""What is known of the people on the images of a workspace, by which subgroups are scored."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from xraytk.data.columns import Columns
from xraytk.errors import DataError
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.files import Workspace
from xraytk.tasks.scoring import given


def facts_of(config: EvaluateConfig, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sex, age band and view of each image from the workspace's manifest, and what ``groups`` says.

    Raises:
        DataError: If ``groups`` is not what it should be, or is of other images.
    """
    columns = Columns(Workspace(config.work).ingest / "manifest")
    wanted = set(ids)
    names = columns.needed("image_id").to_pylist()
    out: dict[str, dict[str, str]] = {}
    for fact, column in (("sex", "sex"), ("age", "age_years"), ("view", "view")):
        values = columns.read(column)
        if values is not None:
            pairs = zip(names, values.to_pylist(), strict=True)
            out[fact] = {i: given.group(fact, "" if v is None else str(v)) for i, v in pairs if i in wanted}
    if config.groups is not None:
        out |= _groups(config.groups, wanted)
    return {fact: tuple(cells.get(i, "") for i in ids) for fact, cells in out.items()}


def _groups(path: Path, wanted: Set[str]) -> dict[str, dict[str, str]]:
    """What a table says of the images that are scored."""
    table = given.read(path)
    if not table.facts:
        raise DataError(
            f"{table.name} groups no images", f"wanted some of {', '.join(given.FACTS)} as columns"
        )
    if not wanted & set(table.ids):
        raise DataError(
            f"no image id of {table.name} is scored",
            f"{len(table.ids):,} rows, first: {given.first(table.ids)}",
            "Give the ids of the manifest.",
        )
    return {
        fact: {i: cell for i, cell in zip(table.ids, cells, strict=True) if i in wanted}
        for fact, cells in table.facts.items()
    }
