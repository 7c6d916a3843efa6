"""The arithmetic of pretraining: operations of one image, and of the GPUs that do them.

A multiplication with its addition counts as two operations. What is left out (normalisation,
softmax, activations, biases, the optimizer) is under one percent at these widths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xraytk.config import Pixels, rows_cols
from xraytk.errors import UsageError

GPUS = {
    "a800": 312.0,
    "a100": 312.0,
    "h100": 989.0,
    "h100-pcie": 756.0,
    "h800": 989.0,
    "h200": 989.0,
    "b200": 2250.0,
    "l40s": 362.0,
    "a40": 149.7,
    "a30": 165.0,
    "a10": 125.0,
    "l4": 121.0,
    "rtx4090": 165.2,
    "rtx3090": 71.0,
    "v100": 125.0,
    "t4": 65.0,
    "mi250x": 383.0,
    "mi300x": 1307.0,
}
"""Peak TFLOP/s without sparsity: bf16, fp16 where there is no bf16 (v100, t4).

Source:
    The makers' data sheets; of consumer cards the rate with fp32 accumulation.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeShape:
    """What decides the arithmetic of a masked autoencoder; the defaults are the paper's.

    Args:
        image_px: Size of the image in pixels: one number for a square, or [rows, columns].
        patch_px: Side of a patch in pixels; divides ``image_px``.
        channels: 1 or 3.
        width: Of an encoder token.
        depth: Blocks of the encoder.
        mlp_ratio: Hidden width of a block's MLP over its width.
        hidden: Share of the patches that the encoder does not see, in [0, 1).
        decoder_width: Of a decoder token.
        decoder_depth: Blocks of the decoder; their MLPs have ratio 4.

    Source:
        Paper, section IV; 0.885 hidden is 0.95 inside and 0.85 outside the lungs.
    """

    image_px: Pixels = 1280
    patch_px: int = 64
    channels: int = 1
    width: int = 1024
    depth: int = 24
    mlp_ratio: float = 4.0
    hidden: float = 0.885
    decoder_width: int = 512
    decoder_depth: int = 8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        for name in ("image_px", "patch_px", "channels", "width", "depth", "decoder_width", "decoder_depth"):
            if min(rows_cols(getattr(self, name))) < 1:
                raise UsageError(f"model.{name} is {getattr(self, name)}", "wanted at least 1")
        if any(side % self.patch_px for side in rows_cols(self.image_px)):
            raise UsageError(f"model.patch_px {self.patch_px} does not divide model.image_px {self.image_px}")
        if not 0 <= self.hidden < 1:
            raise UsageError(f"model.hidden is {self.hidden}", "wanted a share, 0 <= hidden < 1")
        if self.mlp_ratio <= 0:
            raise UsageError(f"model.mlp_ratio is {self.mlp_ratio}", "wanted more than 0")

    @property
    def patches(self) -> int:
        """Patches of one image, N."""
        rows, cols = rows_cols(self.image_px)
        return (rows // self.patch_px) * (cols // self.patch_px)

    @property
    def visible(self) -> int:
        """Patches that the encoder sees, K."""
        return max(1, round(self.patches * (1 - self.hidden)))


def forward_flops(shape: MaeShape) -> float:
    """Operations of one image's forward pass, encoder and decoder.

    Args:
        shape: Of the model.

    Source:
        Counted: a block of T tokens of width D multiplies T x D by 4 D x D (query, key, value,
        output) and twice by D x rD (the MLP), and T x T x D twice (attention).
    """
    visible, patches = shape.visible, shape.patches
    values = shape.patch_px**2 * shape.channels
    project = 2.0 * visible * values * shape.width
    encoder = shape.depth * _block(1 + visible, shape.width, shape.mlp_ratio)
    narrow = 2.0 * (1 + visible) * shape.width * shape.decoder_width
    decoder = shape.decoder_depth * _block(1 + patches, shape.decoder_width, 4.0)
    paint = 2.0 * (patches - visible) * shape.decoder_width * values
    return project + encoder + narrow + decoder + paint


def train_flops(shape: MaeShape) -> float:
    """Operations of one image in training: forward, and backward, which is twice as much."""
    return 3 * forward_flops(shape)


def _block(tokens: int, width: int, mlp_ratio: float) -> float:
    return 2.0 * tokens * width**2 * (4 + 2 * mlp_ratio) + 4.0 * tokens**2 * width


def count_flops(forward: Callable[[], object]) -> float:
    """Count the operations of a forward pass by watching its matrix products.

    What is hidden costs only what is done with it, whatever the model. No gradient is kept, and
    attention is computed by plain products, which are counted on every device.

    Args:
        forward: Runs the model.

    Returns:
        Operations, a multiplication with its addition being two.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        forward()
    return float(counter.get_total_flops())
