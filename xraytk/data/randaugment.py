"""RandAugment for radiographs: two operations of one strength, as amounts to add to a draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OPERATIONS = 2
"""Operations of one draw."""
STRONGEST = {
    "rotate_deg": 30.0,
    "shear_deg": 16.7,
    "shift_x": 0.3,
    "shift_y": 0.3,
    "brightness": 0.3,
    "contrast": 1.0,
    "gamma": 1.0,
}
"""What an operation does at magnitude 10; contrast and gamma in powers of two, so that none inverts."""
NAMES = tuple(STRONGEST)


def amounts(magnitude: float, numbers: NDArray[np.float64]) -> dict[str, float]:
    """Choose operations, all alike, and to which side each goes.

    Left out of the original's list is what changes a radiograph's meaning or is none of grey
    pictures: inverting, solarising, posterising, equalising, colour. There is no flip, for words and
    labels have sides. Moves become one warp and greys one curve, whatever their order.

    Args:
        magnitude: 0 to 10.
        numbers: (n, 2) in [0, 1): which operation, and to which side; one chosen twice adds up.

    Returns:
        For every name of `STRONGEST` what is to be added.

    Source:
        RandAugment (Cubuk et al. 2020): two operations, alike, of one magnitude. Shift, brightness
        and contrast are weaker than there, ours: more would push the findings out of the picture.
    """
    added = dict.fromkeys(NAMES, 0.0)
    for which, side in numbers.tolist():
        name = NAMES[int(which * len(NAMES))]
        added[name] += (1.0 if side < 0.5 else -1.0) * STRONGEST[name] * magnitude / 10
    return added
