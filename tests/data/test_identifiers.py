# ruff: noqa: E501  (reports and what is left of them stand side by side)

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data.scrub import HOLE, KINDS, Scrubbed, scrub_report

DATES = (
    "2024-03-05|2024/3/5|2024.3.5|2024-3-5|20240305|05/03/24|3/5/2024|03-05-2024|5.3.2024|05.03.24|March 5th 2024|March 5, 2024|5 March 2024|"
    "Mar 5|5th of March|05-MAR-2024|Mar. 5, '24|March 2024|2024-03|2024年3月5日|3月5日|2024 年 3 月 5 日|2024年3月|二〇二四年三月五日|３月５日|2024-03-05T10:22:01"
)
KEPT_EN = """
A 3.5 x 2.1 cm mass, 12 mm nodule and 3.5x2.1x1.8 cm cyst; a 5-6 mm and a 10-15 mm nodule.|Compression of T8, L1 and T11-T12; T2 is bright.|
The 5th rib and ribs 8-9-10, the right 3rd-5th ribs are fractured.|Follow-up in 4-6 weeks or within 24 hours.|14F chest tube, 8 Fr catheter, 5F sheath.|
A 61 year old man; an 89-year-old woman.|Cardiothoracic ratio 12/33, 16.2/24.7 and 0.52.|Angled by 30 degrees; 45% pneumothorax.|1. Normal. 2. Clear. 3. Stable.|
The lower 2/3 of the left lung, grade 3/6 murmur, GCS 15.|COVID-19, SARS-CoV-2, 2019-nCoV and H1N1.|Right upper lobe, S1+S2, segment 6.|120 kV, 1200ml drained, 2000 HU.|
He may 2 weeks later return.|No change since 2019.|20 pack-years; 95 pack-years.|Dr. ___ was told at ___.|Dr. XXXX XXXX was notified at XXXX hours.|MR chest and DR chest are advised.|
The patient is rotated. Signed by ___.|Discussed with the ED physician.|Tube 5 cm above the carina; tip at T4-5.|The AP view shows March fracture.|The T9 vertebral body; C7-T1.|
No acute disease. Room air.|In 2020 a stent was placed.|Reviewed by Radiology.|The 12:00 position.|1.5 cm; 2.25 cm; 0.75 cm|Bed rest. Ward round.|Doctor was called.|A 98 day old infant|A 14F, a 28F with side holes; temperature 101.2F|Her son was told
"""
KEPT_ZH = """
右肺上叶见结节，大小约3.5cm×2.1cm，边界清。|双肺纹理增多，第5、6肋骨骨折，T8椎体压缩。|主动脉迂曲，心胸比约0.52，倾斜30度。|建议3个月后复查，24小时内随访。|1. 双肺未见异常。2. 心影不大。|
考虑肺炎，较前片吸收，3日前发热。|女，56岁，咳嗽2周，T12、L1陈旧压缩。|置入14F引流管，引流1200ml。|由主任医师审核，高年资医师会诊，建议咨询专业医生。|胸部DR正位片，床旁片，双侧对称。|
左肺下叶前基底段，第1肋间。|张力性气胸，马方综合征，王氏征阳性。|患者左侧第5和第6根肋骨骨折。|肺扩张良好，白线影，高密度影，石灰样钙化。|患者高热因肺炎，胡须较多，高血压于2年前|请主任查房。|报告：双肺清晰。审核：无异常|中心静脉导管末端位于第7胸椎水平。
"""


def _texts(block: str) -> list[str]:
    return [t.strip() for t in block.replace("\n", "").split("|") if t.strip()]


@pytest.mark.parametrize("date", DATES.split("|"))
def test_dates_go_in_every_spelling(date: str) -> None:
    for text in (f"Comparison with {date}: stable.", f"与{date}片比较。"):
        clean = scrub_report(text)
        assert clean.counts == {"date": 1}
        assert not re.search(r"[\d３５三]|Mar", clean.text.replace("'24", ""))


@pytest.mark.parametrize("text", _texts(KEPT_EN) + _texts(KEPT_ZH))
def test_what_a_radiologist_measures_stays(text: str) -> None:
    assert scrub_report(text).text == text


@pytest.mark.parametrize(
    ("text", "clean", "kinds"),
    [
        ("Read at 14:35 and 2:30 pm, 1435 hours.", "Read at ___ and ___, ___.", {"time": 3}),
        ("上午9时30分，14时35分", "___，___", {"time": 2}),
        (
            "Call (555) 123-4567, 555-123-4567, +86 138 1234 5678 or x4521.",
            "Call ___, ___, ___ or x___.",
            {"phone": 4},
        ),
        ("电话：13812345678，传真 010-65551234", "电话：___，传真 ___", {"phone": 2}),
        ("See https://pacs.example.org/1?id=2 or a.b@c.org.", "See ___ or ___.", {"email": 1, "url": 1}),
        (
            "MRN: 12345. Accession #A99, patient ID 4711",
            "MRN: ___. Accession #___, patient ID ___",
            {"id": 3},
        ),
        (
            "住院号：Z12345，门诊号 778，检查号：CT2024-77，12床，床号：15",
            "住院号：___，门诊号 ___，检查号：___，___床，床号：___",
            {"id": 5},
        ),
        ("身份证 11010519491231002X，编号 440308199901012", "身份证 ___，编号 ___", {"id": 2}),
        ("Film 1234567; AB12345; 1.2.840.113619.2.55", "Film ___; ___; ___", {"id": 3}),
        ("Dr. Smith and Mrs O'Brien; Prof. van der Berg.", "Dr. ___ and Mrs ___; Prof. ___.", {"name": 3}),
        (
            "Electronically signed by Nguyễn Văn An, MD on 3/5/2024 at 14:05",
            "Electronically signed by ___, MD on ___ at ___",
            {"name": 1, "date": 1, "time": 1},
        ),
        ("DICTATED BY: JOHN Q. PUBLIC", "DICTATED BY: ___", {"name": 1}),
        ("Discussed with Jane Doe in the ED.", "Discussed with ___ in the ED.", {"name": 1}),
        ("报告医师：张三  审核医师：李四", "报告医师：___  审核医师：___", {"name": 2}),
        ("报告医生：欧阳娜/王秀英审核医生：李四", "报告医生：___/___审核医生：___", {"name": 3}),
        ("已电话通知王医生，与李明主任沟通。", "已电话通知___医生，与___主任沟通。", {"name": 2}),
        ("患者张伟，男，45岁；姓名：李明 性别：男", "患者___，男，45岁；姓名：___ 性别：男", {"name": 2}),
        (
            "A 93 year old, 102-year-old and 91 y/o; aged 95",
            "A ___ year old, ___-year-old and ___ y/o; aged ___",
            {"age": 4},
        ),
        ("93岁女性，年龄：90岁", "___岁女性，年龄：___岁", {"age": 2}),
        (
            "Transferred from Saint Aurelia Hospital. Ward: 7B",
            "Transferred from ___. Ward: ___",
            {"place": 2},
        ),
        ("于滨江市第二人民医院就诊，科室：呼吸内科", "于___就诊，科室：___", {"place": 2}),
    ],
)
def test_identifiers_by_hand(text: str, clean: str, kinds: dict[str, int]) -> None:
    assert scrub_report(text) == Scrubbed(clean, kinds)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/s/ Jane Doe\nJKS/mt", "/s/ ___\n___"),
        ("d/w Jane Doe; reviewed with R. Roe and Ann Poe.", "d/w ___; reviewed with ___ and ___."),
        ("I, Jane Doe, have read it. Ann Poe was notified.", "I, ___, have read it. ___ was notified."),
        ("Radiologist interpretation: DOE, JANE MD", "Radiologist interpretation: ___ MD"),
        ("Verified by: jdoe 2021-03-04", "Verified by: ___ ___"),
        ("Her husband (John) called. BABY BOY ROE", "Her husband (___) called. BABY BOY ___"),
        ("Name: ROE^RICHARD^L", "Name: ___"),
        ("Unchanged since last Tuesday 3/4.", "Unchanged since last Tuesday ___."),
        ("Seen on the 22nd, called at 0915.", "Seen on the ___, called at ___."),
        ("Insurance ID: XJH 880 112 456; last four 4471", "Insurance ID: ___; last four ___"),
        ("1420 Maple Avenue, Apt 3, Springfield, IL 62704", "___ ___"),
        ("pacs.example.org/view?id=7 and 97yoF", "___ and ___yoF"),
        ("家属刘建国签字，患者姓张，由副主任医师何平审阅。", "家属___签字，患者姓___，由副主任医师___审阅。"),
        ("建议复查。  （罗永明）", "建议复查。  （___）"),
        ("农历正月初八，3.4厘米；昨日（3.4）片", "___，3.4厘米；昨日（___）片"),
        ("车牌京A88123，邮编100730，微信号 zs_1988", "车牌___，邮编___，微信号 ___"),
        ("住中山南路5号院3号楼201室", "住___"),
    ],
)
def test_words_beside_a_name_or_number_betray_it(text: str, clean: str) -> None:
    assert scrub_report(text).text == clean


def test_a_text_of_one_sign_takes_no_longer_than_its_length() -> None:
    for sign in ("A", " ", "\n", "A'", "1-", "^A", "张", "a."):
        scrub_report(sign * 20_000)


def test_a_whole_english_report() -> None:
    text = (
        "Compared to March 5th 2024 and 3/7. A 3.5 x 2.1 cm mass in the right upper lobe at T8, previously 12 mm. "
        "14F tube. Dr. Okonkwo was notified at 14:05 by phone 555-123-4567. MRN 00123456. Signed by Jane Q. Doe, MD."
    )
    clean = scrub_report(text)
    assert clean.text == (
        "Compared to ___ and 3/7. A 3.5 x 2.1 cm mass in the right upper lobe at T8, previously 12 mm. "
        "14F tube. Dr. ___ was notified at ___ by phone ___. MRN ___. Signed by ___, MD."
    )
    assert clean.counts == {"name": 2, "id": 1, "date": 1, "time": 1, "phone": 1}


def test_counts_are_of_known_kinds_and_nothing_prints_itself() -> None:
    clean = scrub_report("Dr. Smith, 3/5/2024")
    assert set(clean.counts) <= set(KINDS)
    assert "Dr" not in repr(clean)


PARTS = st.sampled_from(
    [
        "Dr. Smith",
        "Dr.",
        "张医生",
        "报告医师：",
        "张三",
        "2024-03-05",
        "3月5日",
        "12:30",
        "MRN",
        ": ",
        "93 year old",
        "12345",
        "X1234567",
        HOLE,
        " ",
        ", ",
        "Signed by ",
        "Jane Doe",
        "MD",
        "clear.",
    ]
)


@given(st.lists(st.one_of(PARTS, st.text(max_size=4)), max_size=10).map(" ".join))
def test_scrubbing_again_changes_nothing_and_counts_holes(text: str) -> None:
    once = scrub_report(text)
    assert once.text.count(HOLE) >= sum(once.counts.values())
    assert scrub_report(once.text).text == once.text


def _benchmark() -> object:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        import scrub

        return scrub
    finally:
        sys.path.pop(0)


def test_planted_identifiers_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["scrub.py", "--quick", "--json", "--data", str(tmp_path)])
    assert _benchmark().main() == 0
    held, bare, english, chinese, *sets = json.loads(capsys.readouterr().out)["rows"]
    assert min(held["en_found"], held["zh_found"]) >= 0.99
    assert min(bare["en_found"], bare["zh_found"]) >= 0.95
    assert english["changed"] == chinese["changed"] == 0
    for row in sets:
        assert (row["en_found"], row["zh_found"]) == (row["en_strings"], row["zh_strings"])
        assert row["en_lost"] == row["zh_lost"] == 0


def test_public_reports_are_hardly_touched(shared_data: Path) -> None:
    lines = (shared_data / "reports_iu" / "reports.jsonl").read_text(encoding="utf-8").splitlines()[:1000]
    texts = [f"{r['findings']} {r['impression']}" for r in map(json.loads, lines)]
    assert sum(bool(scrub_report(t).counts) for t in texts) <= 10
