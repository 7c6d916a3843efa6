"""Which image of a study comes first, and which beside it."""

from __future__ import annotations

import numpy as np
import pytest

from xraytk.data.shard_index import ShardIndex
from xraytk.data.studies import studies_of
from xraytk.records import VIEWS


def index(*images: tuple[str, str, str]) -> ShardIndex:
    """An index of (study, view, image_id) in this order, without any bytes."""
    count = len(images)
    return ShardIndex(
        place="here",
        codec="tiff",
        also_px=0,
        labels=(),
        shards=(),
        image_id=np.array([name.encode() for _, _, name in images], "S8"),
        patient=np.full(count, b"p", "S1"),
        study=np.array([study.encode() for study, _, _ in images], "S8"),
        view=np.array([VIEWS.index(view) for _, view, _ in images], np.uint8),
        shard=np.zeros(count, np.int32),
        offset=np.zeros((count, 7), np.int64),
        length=np.zeros((count, 7), np.int32),
        crc32=np.zeros((count, 7), np.uint32),
    )


@pytest.mark.parametrize(
    ("views", "wanted"),
    [
        (["LATERAL", "PA"], (1, 0)),
        (["UNKNOWN", "AP", "PA"], (2, 1)),  # no lateral: PA, AP, UNKNOWN
        (["UNKNOWN", "AP", "LATERAL", "OTHER"], (1, 2)),
        (["OTHER", "UNKNOWN"], (1, 0)),
        (["OTHER", "PA", "AP"], (1, 2)),
        (["UNKNOWN", "UNKNOWN", "UNKNOWN"], (0, 1)),  # by the image's id
        (["AP"], (0, -1)),
    ],
)
def test_a_frontal_image_is_first_and_a_lateral_second(views, wanted):
    found = studies_of(index(*[("s", view, f"i{n}") for n, view in enumerate(views)]))
    assert (found.first.tolist(), found.second.tolist()) == ([wanted[0]], [wanted[1]])


def test_equal_views_go_by_the_id_of_the_image_and_not_by_its_row():
    found = studies_of(
        index(("s", "LATERAL", "b"), ("s", "PA", "d"), ("s", "PA", "c"), ("s", "LATERAL", "a"))
    )
    assert (found.first.tolist(), found.second.tolist()) == ([2], [3])


def test_studies_come_in_the_order_of_their_first_images_and_never_share_one():
    found = studies_of(
        index(
            ("z", "LATERAL", "1"),
            ("b", "PA", "2"),
            ("z", "PA", "3"),
            ("a", "LATERAL", "4"),
            ("a", "OTHER", "5"),
            ("b", "PA", "6"),
        )
    )
    assert (found.first.tolist(), found.second.tolist()) == ([1, 2], [5, 0])
    assert (len(found), found.without) == (2, 1)  # "a" has no frontal image


def test_no_images_are_no_studies():
    found = studies_of(index())
    assert (len(found), found.without) == (0, 0)
