"""The review's page in a real browser, headless: what a hand does is on disk."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from review_work import HEIGHT, LUNGS, WIDTH, full

from xraytk.data import corrections
from xraytk.data.corrections import Correction
from xraytk.data.review.desk import Desk
from xraytk.data.review.queue import Queue
from xraytk.data.review.server import Server, serving

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, to steer a browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as steering:
        try:
            found = steering.chromium.launch(executable_path=CHROMIUM)
        except playwright.Error:
            pytest.skip("needs Chromium: `apt install chromium`, or `playwright install chromium`")
        yield found
        found.close()


@pytest.fixture
def desk(work: Path) -> Desk:
    return Desk(Queue(work / "masks", work / "ingest"), work / "masks" / "corrections")


@pytest.fixture
def server(desk: Desk) -> Iterator[Server]:
    with serving(desk) as made:
        yield made


class Hand:
    """A person at the page."""

    def __init__(self, browser: Any, server: Server, **context: Any) -> None:
        self.faults: list[str] = []
        self.context = browser.new_context(viewport={"width": 1400, "height": 900}, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.goto(server.url)

    def sees(self, two: str) -> None:
        """Wait until an image is shown."""
        self.page.wait_for_selector(f"#item-{full(two)}[aria-current]")
        self.page.wait_for_selector(f"#picture.there[alt$='{full(two)}']")

    def presses(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image lies on the screen."""
        box = self.page.locator("#picture").bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / WIDTH, box["y"] + (y + 0.5) * box["height"] / HEIGHT

    def drags(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=5)
        self.page.mouse.up()

    def text(self, name: str) -> str:
        return str(self.page.inner_text(f"#{name}"))


@pytest.fixture
def hand(browser: Any, server: Server) -> Iterator[Hand]:
    made = Hand(browser, server, locale="en-US")
    made.sees("cc")
    yield made
    made.context.close()
    assert made.faults == []


def on_disk(work: Path, two: str, wanted: Callable[[Correction | None], bool]) -> Correction | None:
    """What is said of an image, as soon as it is as wanted."""
    path, end = work / "masks" / "corrections" / f"{full(two)}.json", time.monotonic() + WAIT_MS / 1000
    while True:
        found = corrections.load(path) if path.exists() else None
        if wanted(found):
            return found
        assert time.monotonic() < end, f"not on disk; found {found}"
        time.sleep(0.02)


def is_(decision: str) -> Callable[[Correction | None], bool]:
    return lambda found: found is not None and found.decision == decision


def xy(correction: Correction | None, polygon: int) -> list[tuple[float, float]]:
    assert correction is not None
    one = correction.polygons[polygon]
    return list(zip(one["x"], one["y"], strict=True))


def test_a_dragged_point_is_on_disk_when_the_hand_lets_go_and_a_accepts_it(hand: Hand, work: Path) -> None:
    hand.presses("n")
    hand.sees("bb")
    hand.drags((20, 40), (10, 30))
    found = on_disk(work, "bb", is_("drawn"))
    assert xy(found, 0)[0] == pytest.approx((10, 30), abs=0.6)
    assert xy(found, 0)[1:] == [(70, 40), (70, 90), (20, 90)], "far points stay where they are"
    assert found is not None
    assert found.polygons[1] == LUNGS[1]
    hand.presses("a")
    hand.sees("ee")
    assert on_disk(work, "bb", is_("drawn")) == found
    assert hand.text("count") == "1 of 5 looked at"
    hand.presses("a")
    hand.sees("aa")
    assert on_disk(work, "ee", is_("accepted")) is not None
    assert sorted(p.name for p in (work / "masks" / "corrections").iterdir()) == [
        f"{full('bb')}.json",
        f"{full('ee')}.json",
    ]


def test_undo_takes_back_what_was_saved_and_redo_says_it_again(hand: Hand, work: Path) -> None:
    hand.presses("n")
    hand.sees("bb")
    hand.drags((20, 40), (10, 30))
    hand.drags((45, 60), (50, 65))  # inside: the whole outline
    found = on_disk(work, "bb", lambda now: now is not None and xy(now, 0)[2][0] > 72)
    assert xy(found, 0)[2] == pytest.approx((75, 95), abs=0.6)
    hand.presses("z", "z")
    on_disk(work, "bb", lambda now: now is None)
    hand.presses("y", "y")
    assert on_disk(work, "bb", lambda now: now is not None and xy(now, 0)[2][0] > 72) == found
    hand.presses("r")
    hand.sees("ee")
    on_disk(work, "bb", is_("rejected"))
    hand.presses("p")
    hand.sees("bb")
    hand.presses("z")
    assert on_disk(work, "bb", is_("drawn")) == found


def test_points_are_added_on_an_edge_and_removed(hand: Hand, work: Path) -> None:
    hand.presses("n")
    hand.sees("bb")
    hand.drags((45, 40), (45, 20))
    found = on_disk(work, "bb", is_("drawn"))
    assert len(xy(found, 0)) == 5
    assert xy(found, 0)[1] == pytest.approx((45, 20), abs=0.6)
    hand.presses("Delete")
    assert len(xy(on_disk(work, "bb", lambda now: now is not None and len(xy(now, 0)) == 4), 0)) == 4
    hand.page.keyboard.down("Alt")
    hand.page.mouse.click(*hand.at(90, 40))
    hand.page.keyboard.up("Alt")
    found = on_disk(work, "bb", lambda now: now is not None and len(xy(now, 1)) == 3)
    assert xy(found, 1) == [(140, 40), (140, 90), (90, 90)]


def test_a_lung_is_drawn_where_there_was_none(hand: Hand, work: Path) -> None:
    assert hand.page.locator("#accept").is_disabled()
    hand.presses("1")
    corners = [(20, 40), (60, 40), (60, 120), (20, 120)]
    for corner in [*corners, corners[0]]:  # a click on the first point closes it
        hand.page.mouse.click(*hand.at(*corner))
    found = on_disk(work, "cc", is_("drawn"))
    assert found is not None
    assert [p["name"] for p in found.polygons] == ["right_lung"]
    for point, corner in zip(xy(found, 0), corners, strict=True):
        assert point == pytest.approx(corner, abs=0.6)
    assert hand.page.locator("#accept").is_enabled()


def test_points_stay_inside_of_the_image(hand: Hand, work: Path) -> None:
    hand.presses("n")
    hand.sees("bb")
    hand.drags((20, 40), (-15, -25))
    assert xy(on_disk(work, "bb", is_("drawn")), 0)[0] == (0, 0)
    hand.drags((115, 60), (400, 60))
    found = on_disk(work, "bb", lambda now: now is not None and max(now.polygons[1]["x"]) > 140)
    assert xy(found, 1)[1] == (WIDTH - 1, 40)


def test_what_was_done_while_the_server_was_away_is_saved_when_it_is_back(
    browser: Any, desk: Desk, work: Path
) -> None:
    with serving(desk) as server:
        hand = Hand(browser, server, locale="en-US")
        hand.sees("cc")
        hand.presses("n")
        hand.sees("bb")
    hand.drags((20, 40), (10, 30))
    hand.page.wait_for_selector("#saved.alarm")
    assert "Not saved" in hand.text("saved")
    again = Desk(Queue(work / "masks", work / "ingest"), work / "masks" / "corrections")
    with serving(again, server.server_port) as back:
        back.token = server.token
        on_disk(work, "bb", is_("drawn"))
        hand.page.wait_for_selector("#saved:not(.alarm)")
    hand.context.close()


def test_a_second_tab_is_shown_what_the_first_one_said(browser: Any, server: Server, work: Path) -> None:
    first, second = (Hand(browser, server, locale="en-US") for _ in range(2))
    for tab in (first, second):
        tab.sees("cc")
    first.presses("1")
    for corner in ((20, 40), (60, 40), (60, 120)):
        first.page.mouse.click(*first.at(*corner))
    first.presses("Enter")
    found = on_disk(work, "cc", is_("drawn"))
    second.presses("r")
    second.page.wait_for_selector("#saved.alarm")
    second.sees("cc")
    second.page.wait_for_selector("#lines polygon.fine")
    assert on_disk(work, "cc", is_("drawn")) == found
    for tab in (first, second):
        tab.context.close()


def test_chinese_is_spoken_to_a_chinese_browser_and_keys_are_named_to_readers(
    browser: Any, server: Server
) -> None:
    hand = Hand(browser, server, locale="zh-CN")
    hand.sees("cc")
    buttons = [hand.text(name) for name in ("accept", "reject", "save", "next", "previous", "undo", "invert")]
    assert [text[:-1].strip() for text in buttons] == [
        "接受",
        "拒绝",
        "保存",
        "下一张",
        "上一张",
        "撤销",
        "反相",
    ]
    assert hand.text("count") == "已审核 0 / 5"
    assert hand.page.get_attribute("html", "lang") == "zh-CN"
    for button in hand.page.locator("aside button").all():
        name = button.get_attribute("id")
        assert button.inner_text()
        assert name == "withdraw" or button.get_attribute("aria-keyshortcuts")
    hand.context.close()


def test_fingers_draw_and_zoom(browser: Any, server: Server, work: Path) -> None:
    hand = Hand(browser, server, locale="en-US", has_touch=True)
    hand.sees("cc")
    before = hand.page.locator("#picture").bounding_box()["width"]
    line = hand.context.new_cdp_session(hand.page)
    x, y = hand.at(80, 100)
    for kind, apart in (("touchStart", 20), ("touchMove", 30), ("touchMove", 40), ("touchEnd", 0)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
        line.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    hand.page.wait_for_function(
        "wide => document.getElementById('picture').getBoundingClientRect().width > 1.8 * wide", arg=before
    )
    hand.presses("0")
    hand.page.wait_for_function(
        "wide => document.getElementById('picture').getBoundingClientRect().width == wide", arg=before
    )
    hand.page.tap("#draw-left")
    for corner in ((90, 40), (140, 40), (140, 120)):
        hand.page.touchscreen.tap(*hand.at(*corner))
    hand.presses("Enter")
    assert len(xy(on_disk(work, "cc", is_("drawn")), 0)) == 3
    hand.context.close()


GEOMETRY = """async () => {
  const { dragged, moved, thinned, nearestEdge, surrounding } = await import("./outline.js");
  const ring = Array.from({ length: 200 }, (_, i) => [100 + 50 * Math.cos(i * Math.PI / 100),
    100 + 50 * Math.sin(i * Math.PI / 100)]);
  const square = [[0, 0], [10, 0], [10, 10], [0, 10]];
  return {
    alone: dragged(square, 1, 5, -5, 0),
    soft: dragged(ring, 0, 10, 0, 30).map((p, i) => p[0] - ring[i][0]),
    moved: moved(square, -5, 100, 50, 50),
    thin: thinned([[0, 0], [1, 0.1], [2, 0], [3, 0], [3, 3]], 0.5),
    edge: nearestEdge([{ points: square }], [9, 5]),
    inside: [[5, 5], [15, 5]].map((at) => surrounding([{ points: square }], at)),
  };
}"""


def test_outlines_bend_as_they_should(hand: Hand) -> None:
    found = hand.page.evaluate(GEOMETRY)
    assert found["alone"] == [[0, 0], [15, -5], [10, 10], [0, 10]]
    soft = found["soft"]
    assert soft[0] == 10
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(soft[:31])), "less and less"
    assert soft[1:100] == pytest.approx(soft[:100:-1]), "the same to both sides"
    assert max(abs(v) for v in soft[21:180]) == 0, "nothing beyond the reach, which is 19 points away"
    assert found["moved"] == [[0, 39], [10, 39], [10, 49], [0, 49]]
    assert found["thin"] == [[0, 0], [3, 0], [3, 3]]
    assert (found["edge"]["point"], found["edge"]["distance"]) == (1, 1)
    assert found["inside"] == [0, -1]
