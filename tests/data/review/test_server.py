"""The review's server, by real requests to a real thread."""

from __future__ import annotations

import http.client
import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from review_work import HEIGHT, LUNGS, WIDTH, full, square

from xraytk.data import corrections, pictures, review
from xraytk.data.review.desk import Desk
from xraytk.data.review.queue import Queue
from xraytk.data.review.server import MOST_BYTES, TOKEN_HEADER, Server, serving
from xraytk.data.review.session import _opened
from xraytk.errors import DataError, UsageError
from xraytk.progress import Silent


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Speaks to a server as a browser does, or as one does not."""

    def __init__(self, server: Server) -> None:
        self.server, self.token, self.port = server, server.token, server.server_port

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            line.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", f"/{self.token}/{path}", headers=headers)

    def say(self, two: str, decision: Any, version: str = "", **more: Any) -> Answer:
        said = {"decision": decision, "version": version, **more}
        return self.post(f"api/image/{full(two)}", json.dumps(said).encode())

    def post(self, path: str, body: bytes, **headers: str) -> Answer:
        ours = {"Content-Type": "application/json", TOKEN_HEADER: self.token}
        given = ours | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", f"/{self.token}/{path}", body, {k: v for k, v in given.items() if v})


@pytest.fixture
def client(work: Path) -> Iterator[Client]:
    desk = Desk(Queue(work / "masks", work / "ingest"), work / "masks" / "corrections")
    with serving(desk) as server:
        yield Client(server)


def kept(work: Path) -> dict[str, str]:
    return {p.name[:2]: corrections.load(p).decision for p in (work / "masks" / "corrections").glob("*.json")}


def listed(answer: Answer) -> list[str]:
    return [one["image_id"][:2] for one in answer.json["images"]]


def with_confidence(work: Path, values: dict[str, float | None]) -> None:
    path = work / "masks" / "contours.parquet"
    table = pq.read_table(path)
    column = pa.array([values.get(i[:2]) for i in table["image_id"].to_pylist()], pa.float32())
    at = table.schema.get_field_index("confidence")
    pq.write_table(table.set_column(at, table.schema.field(at), column), path)


# ---- the list


def test_failed_flagged_and_ok_are_listed_in_this_order(client: Client) -> None:
    answer = client.get("api/list")
    assert listed(answer) == ["cc", "bb", "ee", "aa", "dd"]
    assert answer.json["next"] is None
    assert (answer.json["looked"], answer.json["total"]) == (0, 5)
    assert answer.json["images"][1]["reason"] == "off-centre"


def test_the_least_confident_come_first_where_the_table_says_so(work: Path) -> None:
    with_confidence(work, {"aa": 0.2, "bb": 0.9, "cc": 0.95, "dd": 0.5})
    queue = Queue(work / "masks", work / "ingest")
    order = [queue.facts(rank)["image_id"][:2] for rank in range(len(queue))]
    assert order == ["cc", "ee", "aa", "dd", "bb"], "failed, then of unknown confidence, then by it"
    assert [queue.facts(rank)["confidence"] for rank in (1, 2)] == [None, 0.2]


def test_a_column_without_a_confidence_changes_nothing(work: Path) -> None:
    with_confidence(work, {})
    queue = Queue(work / "masks", work / "ingest")
    assert [queue.facts(rank)["image_id"][:2] for rank in range(5)] == ["cc", "bb", "ee", "aa", "dd"]


def test_the_list_is_paged(client: Client) -> None:
    one = client.get("api/list?limit=2")
    two = client.get(f"api/list?limit=2&after={one.json['next']}")
    three = client.get(f"api/list?limit=2&after={two.json['next']}")
    assert [listed(a) for a in (one, two, three)] == [["cc", "bb"], ["ee", "aa"], ["dd"]]
    assert three.json["next"] is None
    assert listed(client.get("api/list?limit=x&after=-5")) == ["cc", "bb", "ee", "aa", "dd"]


def test_what_is_decided_is_left_out_unless_all_is_asked_for(client: Client) -> None:
    client.say("bb", "accepted")
    client.say("cc", "rejected")
    assert listed(client.get("api/list")) == ["ee", "aa", "dd"]
    everything = client.get("api/list?all").json["images"]
    assert [one["decision"] for one in everything] == ["rejected", "accepted", "none", "none", "none"]
    assert client.get("api/list").json["looked"] == 2


def test_what_was_decided_before_is_known_at_the_next_start(client: Client, work: Path) -> None:
    client.say("ee", "accepted")
    again = Desk(Queue(work / "masks", work / "ingest"), work / "masks" / "corrections")
    assert again.counts() == {"total": 5, "looked": 1}
    assert again.said == {}


# ---- one image


def test_an_image_comes_with_its_outlines(client: Client) -> None:
    facts = client.get(f"api/image/{full('bb')}").json
    assert facts["polygons"] == facts["found"] == LUNGS
    assert (facts["width"], facts["height"], facts["status"]) == (WIDTH, HEIGHT, "flagged")
    assert (facts["decision"], facts["version"], facts["confidence"]) == ("none", "", None)


def test_the_picture_is_the_ingested_one_in_8_bits(client: Client, work: Path) -> None:
    answer = client.get(f"picture/{full('aa')}")
    assert answer.headers["Content-Type"] == "image/png"
    path = next((work / "ingest" / "images" / "aa").iterdir())
    assert np.array_equal(pictures.decode_png(answer.body), pictures.to_8bit(pictures.read_png(path)))


def test_a_picture_that_is_gone_is_said_to_be(client: Client, work: Path) -> None:
    next((work / "ingest" / "images" / "aa").iterdir()).unlink()
    next((work / "ingest" / "images" / "bb").iterdir()).write_bytes(b"no picture")
    assert [client.get(f"picture/{full(two)}").status for two in ("aa", "bb", "dd")] == [410, 410, 200]


# ---- what is said


def test_a_decision_is_on_disk_when_it_is_answered(client: Client, work: Path) -> None:
    assert client.say("aa", "accepted").status == 200
    assert client.say("cc", "rejected").json["looked"] == 2
    assert kept(work) == {"aa": "accepted", "cc": "rejected"}


def test_moved_points_are_on_disk_in_pixels_of_the_image(client: Client, work: Path) -> None:
    drawn = [square("right_lung", 21.234), LUNGS[1]]
    assert client.say("bb", "drawn", polygons=drawn).status == 200
    found = corrections.load(work / "masks" / "corrections" / f"{full('bb')}.json")
    assert (found.decision, found.width, found.height, found.origin) == ("drawn", WIDTH, HEIGHT, "review")
    assert found.polygons[0]["x"] == [21.23, 71.23, 71.23, 21.23]
    assert client.get(f"api/image/{full('bb')}").json["polygons"][0]["x"][0] == 21.23
    assert client.get(f"api/image/{full('bb')}").json["found"] == LUNGS


def test_a_decision_can_be_changed_and_taken_back(client: Client, work: Path) -> None:
    version = client.say("aa", "accepted").json["version"]
    version = client.say("aa", "rejected", version).json["version"]
    assert kept(work) == {"aa": "rejected"}
    answer = client.say("aa", "none", version).json
    assert (answer["version"], answer["looked"]) == ("", 0)
    assert kept(work) == {}


def test_of_two_tabs_the_second_to_speak_is_told(client: Client, work: Path) -> None:
    first, second = (client.get(f"api/image/{full('aa')}").json["version"] for _ in range(2))
    assert client.say("aa", "rejected", first).status == 200
    late = client.say("aa", "accepted", second)
    assert (late.status, "elsewhere" in late.json["error"]) == (409, True)
    assert kept(work) == {"aa": "rejected"}
    newest = client.get(f"api/image/{full('aa')}").json["version"]
    assert client.say("aa", "accepted", newest).status == 200
    assert client.say("bb", "accepted").status == 200, "another image is free"


def test_many_tabs_at_once_lose_nothing(client: Client, work: Path) -> None:
    answers: list[int] = []
    hands = [
        threading.Thread(target=lambda two=two: answers.append(client.say(two, "rejected").status))
        for two in ("aa", "bb", "cc", "dd", "ee") * 3
    ]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert sorted(answers) == [200] * 5 + [409] * 10
    assert len(kept(work)) == 5


def test_a_broken_file_of_corrections_can_be_written_again(client: Client, work: Path) -> None:
    folder = work / "masks" / "corrections"
    folder.mkdir()
    (folder / f"{full('aa')}.json").write_text("{")
    facts = client.get(f"api/image/{full('aa')}").json
    assert facts["decision"] == "none"
    assert client.say("aa", "accepted", facts["version"]).status == 200
    assert kept(work) == {"aa": "accepted"}


# ---- what cannot be

NOWHERE = [
    "api/image/../../../etc/passwd",
    "api/image/..%2f..%2fetc%2fpasswd",
    "picture/../manifest/part-0.parquet",
    "picture/" + full("ab"),
    "picture/" + full("ff"),
    "picture/" + full("99"),
    "../server.py",
    "..%2fserver.py",
    "nothing.js",
    "api/image/",
    "api/list/x",
]

OUTSIDE = square("right_lung", 150.0)
WRONG: list[tuple[Any, str]] = [
    ([OUTSIDE], "outside"),
    ([square("spleen", 20.0)], "no known polygon"),
    ([square("right_lung", 20.0) | {"path": "/etc"}], "no known polygon"),
    ([{"name": "right_lung", "x": [1, 2], "y": [1, 2]}], "three points"),
    ([{"name": "right_lung", "x": [1, 2, 3], "y": [1, 2]}], "three points"),
    ([{"name": "right_lung", "x": [1, 2, True], "y": [1, 2, 3]}], "no numbers"),
    ([{"name": "right_lung", "x": [1, 2, "3"], "y": [1, 2, 3]}], "no numbers"),
    ([{"name": "right_lung", "x": [1, 2, 10**400], "y": [1, 2, 3]}], "no numbers"),
    ([{"name": "right_lung", "x": [1.0] * 5001, "y": [1.0] * 5001}], "5000"),
    ([{"name": "right_lung", "x": 5, "y": 5}], "list"),
    ([{"name": "right_lung", "x": [10, 60, 10, 50], "y": [10, 50, 50, 20]}], "crossing"),
    ([{"name": "right_lung", "x": [10, 20, 30], "y": [10, 20, 30]}], "area"),
    ([{"name": ["right_lung"], "x": [1, 2, 3], "y": [1, 2, 3]}], "no known polygon"),
    (["right_lung"], "no known polygon"),
    ([LUNGS[0]] * 17, "16"),
    ([], "without polygons"),
    ({}, "list"),
    (None, "list"),
]


def test_a_wrong_polygon_is_refused_with_a_reason(client: Client, work: Path) -> None:
    for polygons, why in WRONG:
        answer = client.say("aa", "drawn", polygons=polygons)
        assert answer.status == 400, why
        assert why in answer.json["error"]
    assert kept(work) == {}


def test_other_nonsense_is_refused(client: Client, work: Path) -> None:
    assert client.say("aa", "perhaps").status == 400
    assert client.say("aa", None).status == 400
    assert client.say("aa", ["accepted"]).status == 400
    assert client.say("cc", "accepted").status == 400, "there is no outline to accept"
    path = f"api/image/{full('aa')}"
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"decision": NaN}'):
        assert client.post(path, body).status == 400
    assert client.post(path, b"{}", Content_Type="text/plain").status == 415
    assert client.post(path, b"{" + b" " * MOST_BYTES + b"}").status == 413
    assert kept(work) == {}


def test_nothing_but_the_pages_and_the_images_of_the_queue_is_found(client: Client, work: Path) -> None:
    for path in NOWHERE:
        assert client.get(path).status == 404, path
        assert client.post(path, b'{"decision": "rejected", "version": ""}').status == 404, path
    assert kept(work) == {}


# ---- who may speak

PAGE = [
    ("", "text/html"),
    ("review.css", "text/css"),
    ("icon.svg", "image/svg+xml"),
    *((f"{name}.js", "text/javascript") for name in ("review", "stage", "outline", "desk", "texts")),
]


def test_without_the_secret_nothing_is_said(client: Client, work: Path) -> None:
    for path in (
        "/",
        "",
        "/review.js",
        "//",
        "/wrong/",
        f"/{client.token[:-1]}/",
        "/%C3%BC/",
    ):
        assert client.ask("GET", path or "*").status == 403
    body = b'{"decision": "rejected", "version": ""}'
    path = f"api/image/{full('aa')}"
    assert client.post(path, body, **{TOKEN_HEADER.replace("-", "_"): ""}).status == 403
    assert client.post(path, body, **{TOKEN_HEADER.replace("-", "_"): "wrong"}).status == 403
    json_only = {"Content-Type": "application/json", TOKEN_HEADER: client.token}
    assert client.ask("POST", f"/wrong/{path}", body, json_only).status == 403
    assert kept(work) == {}


def test_another_host_name_is_refused(client: Client) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1]", "127.0.0.1:"):
        assert client.get("", Host=host).status == 403, host
        assert client.post(f"api/image/{full('aa')}", b"{}", Host=host).status == 403, host


def test_a_forwarded_port_is_this_machine_too(client: Client) -> None:
    assert client.get("", Host="localhost:9999").status == 200
    said = b'{"decision": "accepted", "version": ""}'
    both = {"Host": "localhost:9999", "Origin": "http://localhost:9999"}
    assert client.post(f"api/image/{full('aa')}", said, **both).status == 200


def test_another_page_cannot_post(client: Client, work: Path) -> None:
    said = b'{"decision": "accepted", "version": ""}'
    for origin in ("http://evil.example", "null", "https://127.0.0.1.evil.example"):
        assert client.post(f"api/image/{full('aa')}", said, Origin=origin).status == 403, origin
    assert client.ask("OPTIONS", f"/{client.token}/api/image/{full('aa')}").status == 501
    assert kept(work) == {}


def test_it_listens_on_this_machine_only(client: Client) -> None:
    assert client.server.server_address[0] == "127.0.0.1"
    assert urlsplit(client.server.url).hostname == "127.0.0.1"
    assert len(client.token) >= 32


def test_every_file_of_the_page_is_served_and_may_load_nothing_else(client: Client) -> None:
    for name, kind in PAGE:
        got = client.get(name)
        head = client.ask("HEAD", f"/{client.token}/{name}")
        assert (got.status, head.status, head.body) == (200, 200, b"")
        assert got.headers["Content-Type"].startswith(kind)
        assert head.headers["Content-Length"] == str(len(got.body))
        policy = got.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert got.headers["Cache-Control"] == "no-store"
        assert got.headers["X-Frame-Options"] == "DENY"
        assert got.headers["Referrer-Policy"] == "no-referrer"
        assert b"http://" not in got.body.replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https://" not in got.body


# ---- a sitting


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_sitting_says_where_it_is_and_what_was_done(work: Path) -> None:
    stop, heard, done = threading.Event(), Heard(), []
    sitting = threading.Thread(
        target=lambda: done.append(
            review.run(work / "masks", work / "ingest", browser=False, progress=heard, stop=stop)
        )
    )
    sitting.start()
    while not any("Ctrl-C" in note for note in heard.notes):
        stop.wait(0.01)
    address = urlsplit(heard.notes[0].split()[-1])
    line = http.client.HTTPConnection("127.0.0.1", address.port or 0, timeout=10)
    token = address.path.strip("/")
    for two, decision in (("aa", "accepted"), ("bb", "rejected"), ("dd", "accepted")):
        body = json.dumps({"decision": decision, "version": ""})
        headers = {"Content-Type": "application/json", TOKEN_HEADER: token}
        line.request("POST", f"{address.path}api/image/{full(two)}", body, headers)
        assert line.getresponse().read()
    stop.set()
    sitting.join(10)
    line.close()
    assert done == [review.Reviewed(accepted=2, corrected=0, rejected=1, looked=3, total=5)]
    assert heard.notes[-1] == "2 accepted, 0 corrected, 1 rejected; 3 of 5 looked at"
    assert not list((work / "masks").glob(".tmp-*"))


def test_after_the_end_nothing_more_is_kept(work: Path) -> None:
    desk = Desk(Queue(work / "masks", work / "ingest"), work / "masks" / "corrections")
    with serving(desk):
        pass
    with pytest.raises(Exception, match="ended"):
        desk.decide(full("aa"), {"decision": "accepted", "version": ""})
    assert kept(work) == {}


def test_the_address_reaches_the_browser_by_a_file_that_only_its_user_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = threading.Event()
    log = tmp_path / "log"
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda url: (log.write_text(url), seen.set()))
    with _opened("http://127.0.0.1:1/secret/", tmp_path, True):
        assert seen.wait(10)
        door = Path(urlsplit(log.read_text()).path)
        assert "secret" not in log.read_text()
        assert "http://127.0.0.1:1/secret/" in door.read_text()
        assert stat.S_IMODE(door.stat().st_mode) == 0o600
    assert not door.exists()


def test_a_taken_port_and_an_empty_table_are_explained(work: Path, client: Client) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        review.run(work / "masks", work / "ingest", port=client.port, browser=False)
    path = work / "masks" / "contours.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match="no contours"):
        review.run(work / "masks", work / "ingest", browser=False)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        review.run(work / "masks", work / "ingest", browser=False)
