"""Near duplicates: copies of one picture are alike, others are not, and the index misses none."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraytk.data import lookalike
from xraytk.data.synthetic import make_phantom


def chest(seed: int) -> np.ndarray:
    return np.rint(make_phantom(seed, size_px=400).pixels * 65535).astype(np.uint16)


def copies(picture: np.ndarray) -> dict[str, np.ndarray]:
    grey = picture / 65535
    height, width = picture.shape
    eight = np.rint(grey * 255).astype(np.uint8)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)
    window = np.clip((grey - 0.06) / 0.86, 0, 1)
    return {
        "gamma": np.rint(grey**0.6 * 65535).astype(np.uint16),
        "window": np.rint(window * 65535).astype(np.uint16),
        "8 bit": eight,
        "jpeg": jpeg,
        "smaller": cv2.resize(picture, (width * 2 // 3, height * 2 // 3), interpolation=cv2.INTER_AREA),
        "trimmed": picture[height // 80 : -height // 100, width // 100 : -width // 90],
    }


def bits(a: int, b: int) -> int:
    return (a ^ b).bit_count()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_of_a_picture_are_alike_and_its_mirror_is_not(seed: int) -> None:
    picture = chest(seed)
    mine = lookalike.signature(picture)
    for name, copy in copies(picture).items():
        other = lookalike.signature(copy)
        assert bits(lookalike.hash_of(mine), lookalike.hash_of(other)) <= lookalike.RADIUS, name
        assert like(mine, other) > lookalike.LIKENESS, name
    mirror = lookalike.signature(np.ascontiguousarray(picture[:, ::-1]))
    assert bits(lookalike.hash_of(mine), lookalike.hash_of(mirror)) > lookalike.RADIUS
    assert like(mine, mirror) < lookalike.LIKENESS


def like(a: bytes, b: bytes) -> float:
    return float(lookalike.likeness(np.frombuffer(a, np.int8), np.frombuffer(b, np.int8)))


def test_different_phantoms_are_not_alike() -> None:
    signatures = [lookalike.signature(chest(seed)) for seed in range(12)]
    for a, b in itertools.combinations(signatures, 2):
        assert like(a, b) < lookalike.LIKENESS


def test_a_rising_grey_curve_changes_nothing() -> None:
    picture = chest(3) // 4
    assert lookalike.signature(picture) == lookalike.signature(picture * 3 + 77)


def test_a_blank_picture_has_no_hash() -> None:
    assert lookalike.hash_of(lookalike.signature(np.full((50, 60), 9, np.uint8))) == 0
    assert lookalike.near_duplicates(["a", "b"], np.zeros(2, np.uint64)) == []
    assert like(bytes(64), bytes(64)) == 0


def planted(count: int) -> np.ndarray:
    """Random hashes, half of them a few bits beside another."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(1, 2**63, count, dtype=np.uint64)
    hashes[count // 2 :] = hashes[: count - count // 2]
    for i in range(count // 2, count):
        for bit in rng.choice(64, rng.integers(1, 13), replace=False):
            hashes[i] ^= np.uint64(1 << int(bit))
    return hashes


@pytest.mark.parametrize("radius", [0, 1, 4, 8, 11])
def test_the_index_finds_what_comparing_all_finds(radius: int) -> None:
    hashes = planted(300)
    ids = [f"{i * 7919 % 300:03d}" for i in range(300)]
    wanted = []
    for i, j in itertools.combinations(range(300), 2):
        distance = bits(int(hashes[i]), int(hashes[j]))
        if distance <= radius:
            wanted.append((min(ids[i], ids[j]), max(ids[i], ids[j]), distance))
    assert lookalike.near_duplicates(ids, hashes, radius=radius) == sorted(wanted)


def test_the_order_of_the_input_does_not_matter() -> None:
    hashes = np.concatenate([planted(200), planted(200)])
    ids = [f"{i:03d}" for i in range(400)]
    turn = np.random.default_rng(2).permutation(400)
    assert lookalike.near_duplicates(ids, hashes) == lookalike.near_duplicates(
        [ids[i] for i in turn], hashes[turn]
    )


def test_equal_hashes_are_paired_with_the_smallest_name_only() -> None:
    hashes = np.full(5, 12345, np.uint64)
    pairs = lookalike.near_duplicates(list("cdabe"), hashes)
    assert pairs == [("a", other, 0) for other in "bcde"]


def test_signatures_refuse_pairs_that_only_hashes_join() -> None:
    signatures = np.ones((2, 64), np.int8)
    signatures[1, :32] = 100  # the same signs, another picture
    hashes = np.array([lookalike.hash_of(s.tobytes()) for s in signatures], np.uint64)
    assert len(lookalike.near_duplicates(["a", "b"], hashes)) == 1
    assert lookalike.near_duplicates(["a", "b"], hashes, signatures=signatures) == []


@pytest.mark.parametrize("radius", [-1, 12])
def test_a_radius_that_the_index_cannot_serve_is_refused(radius: int) -> None:
    with pytest.raises(ValueError, match="radius"):
        lookalike.near_duplicates([], np.zeros(0, np.uint64), radius=radius)


def test_chains_of_pairs_become_groups() -> None:
    pairs = [("b", "c", 3), ("a", "c", 2), ("x", "y", 0)]
    assert lookalike.group(pairs) == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_no_two_patients_are_taken_for_one_another(shared_data: Path) -> None:
    folder = shared_data / "cls_nih"
    with (folder / "manifest.csv").open(encoding="utf-8") as stream:
        rows = list({row["patient"]: row for row in csv.DictReader(stream)}.values())[:150]
    pictures = [cv2.imread(str(folder / row["image"]), cv2.IMREAD_GRAYSCALE) for row in rows]
    made = [lookalike.signature(p) for p in pictures]
    signatures = np.stack([np.frombuffer(s, np.int8) for s in made])
    hashes = np.array([lookalike.hash_of(s) for s in made], np.uint64)
    ids = [row["patient"] for row in rows]
    assert lookalike.near_duplicates(ids, hashes, signatures=signatures) == []
