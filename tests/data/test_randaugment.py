from __future__ import annotations

import numpy as np
import pytest

from xraytk.data import augment
from xraytk.data.augment import AugmentConfig
from xraytk.data.randaugment import NAMES, OPERATIONS, STRONGEST, amounts
from xraytk.data.warp import canvas_px
from xraytk.errors import UsageError


def test_two_numbers_say_the_operation_and_its_side() -> None:
    third, last = 2.5 / len(NAMES), 1 - 1e-9
    added = amounts(6, np.array([[third, 0.2], [last, 0.9]]))
    assert {name: value for name, value in added.items() if value} == {
        NAMES[2]: pytest.approx(0.6 * STRONGEST[NAMES[2]]),
        NAMES[-1]: pytest.approx(-0.6 * STRONGEST[NAMES[-1]]),
    }
    twice = amounts(10, np.array([[0.0, 0.0], [0.0, 0.0]]))
    assert twice["rotate_deg"] == 60


def test_randaugment_is_added_to_what_is_drawn_otherwise_and_never_flips() -> None:
    plain = AugmentConfig(crop_scale=(0.5, 1.0), contrast=0.2)
    kinds = set()
    for seed in range(60):
        without = augment.draw(np.random.default_rng(seed), plain)
        config = AugmentConfig(crop_scale=(0.5, 1.0), contrast=0.2, randaug=6)
        with_it = augment.draw(np.random.default_rng(seed), config)
        assert with_it == augment.draw(np.random.default_rng(seed), config)
        assert (with_it.crop_share, with_it.crop_x, with_it.flip) == (
            without.crop_share,
            without.crop_x,
            False,
        )
        assert with_it.intensity.contrast > 0  # greys are never inverted
        kinds |= {
            name for name in ("rotate_deg", "shear_deg", "shift_x", "shift_y") if getattr(with_it, name)
        }
    assert len(kinds) == 4


def test_the_canvas_holds_the_largest_turn_and_shear() -> None:
    config = AugmentConfig(randaug=6)
    assert config.moves
    assert config.most_deg == pytest.approx((OPERATIONS * 18.0, OPERATIONS * 0.6 * 16.7))
    assert canvas_px(64, config) == canvas_px(64, AugmentConfig(rotate_deg=36, shear_deg=20.04))


@pytest.mark.parametrize("value", [-1, 11])
def test_a_magnitude_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="randaug"):
        AugmentConfig(randaug=value)
