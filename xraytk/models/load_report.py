"""What became of the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

SHOWN = 3
"""Names listed in a line."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the tensors of a checkpoint.

    Args:
        matched: Names that were loaded.
        missing: Names that the model has and the checkpoint lacks.
        unexpected: Names that the checkpoint has and the model lacks.
        misshaped: Lines "name: found (shape), wanted (shape)".
        adapted: Lines "name: what was done to it".
        ignored: Names that belong to other parts of the checkpoint, a head or a decoder.
        notes: What the checkpoint does not say, and how it was read.
        share: Share of the model's numbers that were loaded, in [0, 1].
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]
    adapted: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    share: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether every tensor found its place and every place its tensor."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.misshaped)

    def lines(self) -> list[str]:
        """The report for people."""
        first = [f"{len(self.matched)} tensors, {self.share:.1%} of the numbers"]
        lists = {"missing": self.missing, "unexpected": self.unexpected, "mis-shaped": self.misshaped}
        first += [f"{len(names)} {word}: {shown(names)}" for word, names in lists.items() if names]
        rest = [f"other parts left alone: {shown(self.ignored)}"] if self.ignored else []
        return [*first, *self.adapted, *rest, *self.notes]


def compare(module: nn.Module, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Compare tensors with a module's, without loading.

    Of tied weights a checkpoint may hold any one name.
    """
    wanted = module.state_dict()
    held = {wanted[name].data_ptr() for name in tensors if name in wanted}
    misshaped = {
        name: f"{name}: found {tuple(tensors[name].shape)}, wanted {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    return LoadReport(
        matched=tuple(name for name in tensors if name in wanted and name not in misshaped),
        missing=tuple(n for n, t in wanted.items() if n not in tensors and t.data_ptr() not in held),
        unexpected=tuple(name for name in tensors if name not in wanted),
        misshaped=tuple(misshaped.values()),
    )


def shown(names: Sequence[str]) -> str:
    """The first few of many names."""
    return "; ".join(names[:SHOWN]) + "; ..." * (len(names) > SHOWN)
