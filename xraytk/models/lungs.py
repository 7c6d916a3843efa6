"""The lung net: a small U-Net that outlines both lungs, in the two conventions of human outlines.

"Whole" lungs include what lies behind the heart and above the diaphragm's dome, as in the V7
outlines; "clear" lungs leave out what heart and mediastinum cover, as in those of JSRT,
Montgomery and Shenzhen. Pixels only: polygons and checks are made in `xraytk.data.contour`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = ("right_whole", "left_whole", "right_clear", "left_clear")
"""Right is the patient's, on the image's left."""

WEIGHTS = Path(__file__).with_name("lung_model") / "lungs.safetensors"
SIDE_PX = 256
WIDTHS, DEPTHS = (16, 32, 64, 96, 128), (1, 2, 2, 2, 2)


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _block(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    ends = [inputs] + [outputs] * depth
    return nn.Sequential(*(_convolution(a, b) for a, b in pairwise(ends)))


class LungNet(nn.Module):
    """A U-Net at half the resolution of its input.

    Source:
        Ronneberger et al. 2015; the stem of stride 2 and bilinear upsampling of its answer are ours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(1, WIDTHS[0], 5, 2)
        self.down = nn.ModuleList(
            _block(a, b, depth) for a, b, depth in zip((WIDTHS[0], *WIDTHS), WIDTHS, DEPTHS, strict=False)
        )
        self.up = nn.ModuleList(
            _block(a + b, b, depth)
            for a, b, depth in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], DEPTHS[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(WIDTHS[0], len(CHANNELS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Grey values to log-odds.

        Args:
            x: (B, 1, 256, 256) float, from `xraytk.data.square`.

        Returns:
            (B, 4, 256, 256), in the order of `CHANNELS`.
        """
        x = self.stem(x)
        passed = []
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if i else x)
            passed.append(x)
        x = passed.pop()
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), passed.pop()], 1))
        return functional.interpolate(self.head(x).float(), scale_factor=2.0, mode="bilinear")


@dataclass(frozen=True, slots=True, eq=False)
class LungModel:
    """The net, and what was learnt beside it.

    Args:
        net: Ready to answer.
        atlas: (64, 64) share of training images in which a spot of the letterboxed square is lung.
        shape_mean: (12,) of human outlines, see `xraytk.data.plausible.SHAPE`.
        shape_precision: (12, 12), inverse covariance of the same.
        trust: (4,) weights of `xraytk.data.plausible.confidence`.
    """

    net: LungNet
    atlas: Tensor
    shape_mean: NDArray[np.float64]
    shape_precision: NDArray[np.float64]
    trust: NDArray[np.float64]


def load_model(path: Path) -> LungModel:
    """Read a model that `benchmarks/contour_train.py` wrote."""
    tensors = load_file(path)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # nothing of the caller's is touched
        net = LungNet()
    kept = {n[4:]: v.float() for n, v in tensors.items() if n.startswith("net.")}
    counters = {n: v for n, v in net.state_dict().items() if n.endswith("num_batches_tracked")}
    net.load_state_dict(kept | counters)
    facts = [tensors[name].double().numpy() for name in ("shape.mean", "shape.precision", "trust")]
    return LungModel(net.eval().to(memory_format=torch.channels_last), tensors["atlas"].float(), *facts)


@cache
def lung_model() -> LungModel:
    """The model that comes with the package."""
    return load_model(WEIGHTS)


def lung_atlas() -> Tensor:
    """(64, 64) float32 in [0, 1]: where lungs lie on average in the letterboxed square."""
    return lung_model().atlas


_TURN = cv2.getRotationMatrix2D(((SIDE_PX - 1) / 2, (SIDE_PX - 1) / 2), 8.0, 0.92)


@torch.inference_mode()
def answers(net: LungNet, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the net says of images, and of their mirrored and turned copies.

    Args:
        net: In eval mode.
        images: (B, 256, 256), from `xraytk.data.square`.

    Returns:
        (B, 3, 4, 256, 256) chances in [0, 1], in the order of `CHANNELS`: as it is, mirrored,
        turned by 8 degrees and shrunk; all brought back into the image's place.
    """
    turned = [cv2.warpAffine(i, _TURN, i.shape, borderValue=-1.0) for i in images]
    views = np.stack([images, images[:, :, ::-1], np.stack(turned)], 1).reshape(-1, 1, SIDE_PX, SIDE_PX)
    x = torch.from_numpy(views).contiguous(memory_format=torch.channels_last)
    out = net(x).sigmoid().view(len(images), 3, len(CHANNELS), SIDE_PX, SIDE_PX).numpy()
    out = np.asarray(out, np.float32)
    out[:, 1] = out[:, 1, [1, 0, 3, 2], :, ::-1]
    for answer in out:
        layers = np.ascontiguousarray(answer[2].transpose(1, 2, 0))
        back = cv2.warpAffine(layers, _TURN, layers.shape[:2], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        answer[2] = back.transpose(2, 0, 1)
    return out
