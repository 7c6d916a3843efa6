"""Tensors of a checkpoint on disk for `torch.distributed.checkpoint`: safetensors, no pickle.

A key is ``kind/name``. What one process holds is ``kind.safetensors``; what several hold parts of
is ``kind-00000-of-00008.safetensors`` for each, whose header says under `CHUNKS` where its parts lie.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from xraytk.errors import DataError, XraytkError

CHUNKS = "xraytk.chunks"
"""Header of a part: JSON, for each tensor the shape of the whole and where this part begins."""

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_DTYPES |= {"I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}


class Copies(DefaultSavePlanner):
    """Plans with the live tensors' shapes, and gives their copies to be written.

    Args:
        copies: For each key this process's part, on the CPU.
    """

    def __init__(self, copies: Mapping[str, Tensor]) -> None:
        super().__init__(
            flatten_state_dict=False, flatten_sharded_tensors=False, dedup_save_to_lowest_rank=True
        )
        self._copies = copies

    def resolve_data(self, write_item: WriteItem) -> Tensor:
        """The copy."""
        return self._copies[write_item.index.fqn]


class PartWriter(StorageWriter):
    """Writes this process's part of every kind.

    Args:
        folder: Where to; exists.
        rank: Of this process.
        world: Number of processes.
    """

    def __init__(self, folder: Path, rank: int, world: int) -> None:
        self.folder, self.rank, self.world = folder, rank, world

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing to do."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to do."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Leave the plans as they are."""
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write one file a kind."""
        tensors: dict[str, dict[str, Tensor]] = {}
        chunks: dict[str, dict[str, Any]] = {}
        for item in plan.items:
            kind, _, name = item.index.fqn.partition("/")
            assert item.tensor_data is not None
            tensors.setdefault(kind, {})[name] = cast(Tensor, planner.resolve_data(item))
            where = [list(item.tensor_data.size), list(item.tensor_data.chunk.offsets)]
            chunks.setdefault(kind, {})[name] = where
        for kind, parts in tensors.items():
            path = self.folder / f"{kind}-{self.rank:05d}-of-{self.world:05d}.safetensors"
            write_file(path, parts, {CHUNKS: json.dumps(chunks[kind])})
        done: Future[list[WriteResult]] = Future()
        done.set_result(
            [WriteResult(index=item.index, size_in_bytes=0, storage_data="") for item in plan.items]
        )
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Nothing to do: the headers say everything."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any folder serves."""
        return True


class PartReader(StorageReader):
    """Reads whole files and parts alike, of as many processes as wrote them.

    Args:
        folder: Of the checkpoint.

    Raises:
        DataError: If a file is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tensors: dict[str, TensorStorageMetadata] = {}
        self._files: dict[MetadataIndex, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._read_header(path)

    def shapes(self, kind: str) -> dict[str, tuple[int, ...]]:
        """Names and whole shapes of the tensors of a kind."""
        start = f"{kind}/"
        return {
            key.removeprefix(start): tuple(made.size)
            for key, made in self._tensors.items()
            if key.startswith(start)
        }

    def whole(self, kind: str) -> dict[str, Tensor]:
        """Every tensor of a kind, put together."""
        out = {}
        for name in self.shapes(kind):
            made = self._tensors[f"{kind}/{name}"]
            out[name] = torch.empty(made.size, dtype=made.properties.dtype)
            for chunk in made.chunks:
                place = tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.sizes, strict=True))
                with _opened(self._files[MetadataIndex(f"{kind}/{name}", chunk.offsets)]) as stream:
                    out[name][place] = stream.get_tensor(name)
        return out

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing to do."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What the headers say."""
        return Metadata(dict(self._tensors))

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing to do."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Leave the plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy what this process needs into its tensors."""
        by_file: dict[Path, list[Any]] = {}
        for item in plan.items:
            by_file.setdefault(self._files[item.storage_index], []).append(item)
        for path, items in by_file.items():
            with _opened(path) as stream:
                for item in items:
                    name = item.storage_index.fqn.partition("/")[2]
                    whole = stream.get_tensor(name) if not item.lengths else stream.get_slice(name)
                    pairs = zip(item.storage_offsets, item.lengths, strict=True)
                    part = whole[tuple(slice(start, start + length) for start, length in pairs)]
                    target = planner.resolve_tensor(item)
                    target.detach().copy_(part)
                    planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any folder serves."""
        return True

    def _read_header(self, path: Path) -> None:
        kind = path.stem.partition("-")[0]
        with _opened(path) as stream:
            chunks = json.loads((stream.metadata() or {}).get(CHUNKS, "{}"))
            for name in stream.keys():  # noqa: SIM118  not a dict
                part = stream.get_slice(name)
                sizes = part.get_shape()
                shape, offsets = chunks.get(name, (sizes, [0] * len(sizes)))
                properties = TensorProperties(dtype=_DTYPES[part.get_dtype()])
                made = TensorStorageMetadata(properties, torch.Size(shape), [])
                key = f"{kind}/{name}"
                self._tensors.setdefault(key, made).chunks.append(
                    ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
                )
                self._files[MetadataIndex(key, offsets)] = path


def write_file(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file that survives a loss of power."""
    save_file(tensors, path, metadata)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise what went wrong on the first process that failed, not torch's list of it."""
    try:
        yield
    except CheckpointException as error:
        found = [failure[0] for failure in error.failures.values()]
        raise next((one for one in found if isinstance(one, XraytkError)), found[0]) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as stream:
            yield stream
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", todo="Use another checkpoint.") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is broken", str(error), "Remove that folder; the run goes on from the one before."
        ) from None
