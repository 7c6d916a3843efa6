from __future__ import annotations

import pytest

from xraytk.data.scrub import scrub_report

SECRETS = (
    "ZHANG^SAN=张^三丰",
    "Chest Hospital of Wuhan",
    "武汉协和医院",
    "CHEST",
    "Müller^Anna Maria^^Dr",
    "19700102",
    "00012345",
    "NO^HE",
)


def _scrub(text: str, secrets: tuple[str, ...]) -> tuple[str, int]:
    clean = scrub_report(text, secrets)
    return clean.text, sum(clean.counts.values())


@pytest.mark.parametrize(
    ("text", "clean", "count"),
    [
        ("Chest film, hospital. CHEST HOSPITAL of Wuhan", "Chest film, hospital. ___", 1),
        ("武汉协和医院，协和医院，武某", "___，协和医院，武某", 1),
        ("Zhang San was seen.", "___ was seen.", 1),
        ("zhangsan; SAN, ZHANG", "___; ___", 2),
        ("Mr. Müller and Mrs Muller's film", "Mr. ___ and Mrs ___'s film", 2),
        ("Maria's rib", "___'s rib", 1),
        ("Sandy and the thousand zhangs", "Sandy and the thousand zhangs", 0),
        ("No pneumothorax. He is well.", "No pneumothorax. He is well.", 0),
        ("He No came back.", "___ came back.", 1),
        ("Id 12345, 00012345, but 112345 and A12345", "Id ___, ___, but ___ and ___", 4),
        ("born 1970-01-02 or 1970/1/2 or 19700102.", "born ___ or ___ or ___.", 3),
        ("born 01/02/1970, 2.1.1970, 2-1-70", "born ___, ___, ___", 3),
        ("January 2, 1970; Jan 2nd 1970; 2 Jan. 1970; 02-JAN-1970", "___; ___; ___; ___", 4),
        ("11970-01-02", "___", 1),
        ("张三丰，张 三丰，张医生", "___，___，___医生", 3),
        ("双肺扩张良好，三个结节", "双肺扩张良好，三个结节", 0),
        ("1970年1月2日与 1970 年 01 月 02 日、1月2日", "___与 ___、___", 3),
    ],
)
def test_scrubbing_by_hand(text: str, clean: str, count: int) -> None:
    assert _scrub(text, SECRETS) == (clean, count)


def test_scrubbing_with_nothing_to_look_for_changes_nothing() -> None:
    assert _scrub("Lungs are clear (1.5 cm).", ()) == ("Lungs are clear (1.5 cm).", 0)
    assert _scrub("Lungs are clear.", ("", "^", "  ", "=", "1", "A", "19709999")) == ("Lungs are clear.", 0)
    assert _scrub("", SECRETS) == ("", 0)


def test_secrets_are_texts_and_not_patterns() -> None:
    assert _scrub("axb (a.b) [1.2.3]", ("a.b^(.*)", "1.2.3")) == ("axb (___) [___]", 2)
