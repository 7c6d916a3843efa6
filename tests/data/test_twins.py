"""Which of a set of copies is kept."""

from __future__ import annotations

import numpy as np

from xraytk.data.twins import find_twins, heads

IDS = ["a", "b", "c", "d", "e"]


def test_references_lead_to_the_end_of_their_chain() -> None:
    near = [None, "a", None, None, None]
    same = [None, None, "b", None, "d"]
    assert heads(IDS, near, same) == ["a", "a", "a", "d", "d"]


def test_a_reference_to_an_image_that_is_gone_still_makes_a_set() -> None:
    assert heads(["x", "y"], ["gone", "gone"]) == ["gone", "gone"]


def test_one_of_each_patients_copies_is_kept_the_one_of_lowest_rank() -> None:
    rank = np.array([4, 1, 2, 3, 0])
    made = find_twins(["s", "s", "s", "t", "t"], ["p", "p", "q", "p", "p"], rank, "patient")
    assert made.stands.tolist() == [1, 1, 2, 4, 4]
    assert made.across == 2, "the copies of p and of q are both left in, and counted"


def test_copies_of_any_patient_are_merged_only_when_asked_for() -> None:
    rank = np.arange(3)
    head, patient = ["s", "s", "t"], ["p", "q", "q"]
    assert find_twins(head, patient, rank, "all").stands.tolist() == [0, 0, 2]
    assert find_twins(head, patient, rank, "all").across == 0
    assert find_twins(head, patient, rank, "keep").stands.tolist() == [0, 1, 2]


def test_no_image_has_no_twin() -> None:
    made = find_twins([], [], np.zeros(0, np.int64), "patient")
    assert len(made.stands) == made.across == 0
