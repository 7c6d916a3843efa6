from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from xraytk.data import cluster
from xraytk.errors import MachineError

ray = pytest.importorskip("ray", reason="needs the extra: pip install 'xraytk[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def square(number: int) -> int:
    if number == 13:
        os.abort()
    if number == 99:
        time.sleep(600)
    if number == 7:
        raise MachineError("the disk is full")
    return number * number


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes do not know the tests
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_every_item_has_its_result(started: Any) -> None:
    assert dict(cluster.each(square, [1, 2, 3, 4])) == {1: 1, 2: 4, 3: 9, 4: 16}


def test_an_item_that_ends_its_worker_costs_itself_only(started: Any) -> None:
    assert dict(cluster.each(square, [1, 13, 2])) == {1: 1, 13: None, 2: 4}


def test_an_item_that_never_ends_is_late(started: Any) -> None:
    assert dict(cluster.each(square, [99, 2], limit_s=1.0, late=-1)) == {99: -1, 2: 4}


def test_an_error_of_ours_ends_the_batch(started: Any) -> None:
    with pytest.raises(MachineError, match="disk is full"):
        list(cluster.each(square, [7]))


def test_items_are_taken_as_they_are_needed(started: Any) -> None:
    taken = []
    made = cluster.each(square, (taken.append(n) or n for n in range(100, 200)))  # type: ignore[func-returns-value]
    next(made)
    assert len(taken) < 20
    made.close()
