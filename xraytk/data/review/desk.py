"""What is said of each contour: read, checked and kept, one file an image, at once.

The files are the truth: nothing that was said lives in memory only, so a killed tab, a killed
server and two tabs at once lose nothing. Whoever saves names the version that they looked at;
when another has spoken since, the save is refused instead of lost.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xraytk.data import corrections
from xraytk.data.corrections import Correction
from xraytk.data.outlines import rings
from xraytk.data.review.queue import Queue
from xraytk.errors import DataError

_MOST_POLYGONS = 16
_MOST_POINTS = 5000
_MOST_LISTED = 200


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the program
    """Why a request cannot be answered.

    Args:
        status: Of HTTP.
        reason: For the person at the page.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class Desk:
    """The table at which a person sits: a queue of images, and a folder for what is said.

    Args:
        queue: The images.
        folder: Of the corrections.
    """

    def __init__(self, queue: Queue, folder: Path) -> None:
        self._queue, self._folder = queue, folder
        self._lock = threading.Lock()
        self._closed = False
        names = [p.stem for p in folder.glob("*.json") if not p.name.startswith(".")]
        self._decided = np.asarray(pc.is_in(queue.image_ids, pa.array(names, pa.string())), np.bool_)
        self.said: dict[str, str] = {}

    def counts(self) -> dict[str, int]:
        """How many images there are, and how many were decided, today or before."""
        return {"total": len(self._queue), "looked": int(self._decided.sum())}

    def listing(self, after: int, limit: int, everything: bool) -> dict[str, Any]:
        """A page of the queue.

        Args:
            after: Rank of the first image that may be listed.
            limit: Images at most.
            everything: Those already decided too.

        Returns:
            "images", each with its facts and decision; "next", the rank to ask for then, or
            None at the end; and the counts.
        """
        after = max(after, 0)
        waiting = np.arange(len(self._queue)) if everything else np.flatnonzero(~self._decided)
        page = waiting[np.searchsorted(waiting, after) :][: max(1, min(limit, _MOST_LISTED)) + 1]
        more = len(page) > min(limit, _MOST_LISTED)
        images = []
        for rank in page[: len(page) - more].tolist():
            facts = self._queue.facts(rank)
            said, _ = self._read(facts["image_id"]) if self._decided[rank] else (None, "")
            images.append({**facts, "decision": said.decision if said else "none"})
        return {"images": images, "next": int(page[-1]) if more else None, **self.counts()}

    def image(self, image_id: str) -> dict[str, Any]:
        """All that the page needs to show one image's contour.

        Raises:
            Refusal: If there is no such image in the queue.
        """
        rank = self._rank(image_id)
        said, version = self._read(image_id)
        found = self._queue.polygons(rank)
        return {
            **self._queue.facts(rank),
            "decision": said.decision if said else "none",
            "version": version,
            "found": found,
            "polygons": list(said.polygons) if said and said.decision == "drawn" else found,
        }

    def picture(self, image_id: str) -> bytes:
        """The image as an 8-bit PNG.

        Raises:
            Refusal: If there is no such image in the queue, or none to show any more.
        """
        rank = self._rank(image_id)
        try:
            return self._queue.picture(rank)
        except (DataError, OSError):
            raise Refusal(410, "the image is gone or broken") from None

    def decide(self, image_id: str, said: Any) -> dict[str, Any]:
        """Keep what a person said, before this returns.

        Args:
            image_id: Of an image of the queue.
            said: "decision" ("none" takes back what was said), "version" that the person looked
                at, and "polygons" when drawn. From outside: anything may stand in it.

        Returns:
            The new "version", and the counts.

        Raises:
            Refusal: If it cannot be kept: 400 for what cannot be, 404 for another image, 409
                when it was decided elsewhere in the meantime, 503 after the end.
            MachineError: If the disk is full.
        """
        rank = self._rank(image_id)
        if not isinstance(said, dict):
            raise Refusal(400, "not an object")
        decision = said.get("decision")
        correction = None if decision == "none" else self._correction(rank, decision, said.get("polygons"))
        with self._lock:
            if self._closed:
                raise Refusal(503, "the review has ended")
            if said.get("version") != self._read(image_id)[1]:
                raise Refusal(409, "it was decided elsewhere in the meantime")
            if correction is None:
                (self._folder / f"{image_id}.json").unlink(missing_ok=True)
                self.said.pop(image_id, None)
            else:
                corrections.save(self._folder, correction)
                self.said[image_id] = correction.decision
            self._decided[rank] = correction is not None
            return {"version": self._read(image_id)[1], **self.counts()}

    def close(self) -> None:
        """Let the save that is under way end, and take no other."""
        with self._lock:
            self._closed = True

    def _rank(self, image_id: str) -> int:
        rank = self._queue.rank(image_id)
        if rank is None:
            raise Refusal(404, "no such image")
        return rank

    def _correction(self, rank: int, decision: Any, polygons: Any) -> Correction:
        """What was said, if it can be.

        Raises:
            Refusal: If it cannot.
        """
        facts = self._queue.facts(rank)
        drawn: tuple[dict[str, Any], ...] = ()
        if decision == "drawn":
            drawn = _checked_polygons(polygons)
        elif decision == "accepted":  # these, whatever another net would say
            drawn = tuple(self._queue.polygons(rank))
            if not drawn:
                raise Refusal(400, "without an outline to accept")
        made = Correction(facts["image_id"], decision, facts["width"], facts["height"], drawn)
        if wrong := corrections.fault(made) or _crooked(drawn):
            raise Refusal(400, wrong)
        return made

    def _read(self, image_id: str) -> tuple[Correction | None, str]:
        """What was said, and its version; None when nothing was, or nothing that can be read."""
        path = self._folder / f"{image_id}.json"
        try:
            version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            return corrections.load(path), version
        except FileNotFoundError:
            return None, ""
        except DataError:
            return None, version


def _checked_polygons(value: Any) -> tuple[dict[str, Any], ...]:
    """Polygons from outside, of the right types and of bearable size.

    Raises:
        Refusal: If they are not.
    """
    if not isinstance(value, list) or len(value) > _MOST_POLYGONS:
        raise Refusal(400, f"of no list of up to {_MOST_POLYGONS} polygons")
    made = []
    for polygon in value:
        if not isinstance(polygon, dict) or set(polygon) != {"name", "x", "y"}:
            raise Refusal(400, "of no known polygon")
        made.append({"name": polygon["name"], "x": _numbers(polygon["x"]), "y": _numbers(polygon["y"])})
    return tuple(made)


def _crooked(polygons: tuple[dict[str, Any], ...]) -> str:
    """What is wrong with the course of outlines; "" if nothing is."""
    for polygon in polygons:
        points = np.stack([polygon["x"], polygon["y"]], 1).astype(np.float64)
        if abs(rings.area(points)) < 1:
            return "without an area"
        if rings.crosses_itself(points):
            return "crossing itself"
    return ""


def _numbers(value: Any) -> list[float]:
    """Coordinates in hundredths of a pixel."""
    if not isinstance(value, list) or len(value) > _MOST_POINTS:
        raise Refusal(400, f"of no list of up to {_MOST_POINTS} points")
    if not all(type(v) in (int, float) and abs(v) < 1e6 for v in value):
        raise Refusal(400, "of points that are no numbers")
    return [round(float(v), 2) for v in value]
