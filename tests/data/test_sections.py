# ruff: noqa: E501  (reports and what is made of them stand side by side)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data.sections import NAMES, Sections, pieces, section_of, split_sections, training_text

BOSTON = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough and fever  // r/o pneumonia

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  Chest radiograph ___

 FINDINGS:

 Cardiac size is normal.  Patchy opacity in the right lower lobe is new since
 the prior study.  There is no pneumothorax or pleural effusion.

 IMPRESSION:

 1. Right lower lobe pneumonia.
 2. Recommend follow-up radiographs in 6 weeks.
 RECOMMENDATION(S):  Follow-up.
 NOTIFICATION:  The findings were discussed by Dr. ___ with Dr. ___ at 14:05.
"""
UNHEADED_FINDINGS = """FINAL REPORT
 CHEST RADIOGRAPH

 HISTORY:  Hypoxia.

 COMPARISON:  None.

 Single portable view of the chest demonstrates low lung volumes. The heart is enlarged.

 IMPRESSION:  Mild pulmonary oedema.
"""
LONDON = """XR Chest: 05/03/2024
Clinical Details: Ex-smoker, haemoptysis. ?malignancy
Report:
The heart is not enlarged. There is a 3 cm mass in the left upper zone.
Conclusion: Suspicious left upper zone mass. CT advised.
Reported by: Dr A. Consultant, GMC 1234567
"""
INDIANA = (
    "INDICATION: Chest pain. COMPARISON: None. FINDINGS: The heart size is normal. The lungs are clear. "
    "IMPRESSION: No acute disease."
)
WUHAN = """姓名：王某  性别：男  年龄：56岁  科室：呼吸内科
检查部位：胸部正侧位
临床诊断：咳嗽待查
影像所见：
    双肺纹理增多、紊乱，右肺下野可见斑片状高密度影，边界模糊。与前片对比：病灶较前稍吸收。
    心影不大，主动脉迂曲，双侧膈面光滑，肋膈角锐利。
诊断意见：
    1. 右肺下野炎症，较前稍吸收，建议治疗后复查。
    2. 主动脉硬化。
报告医师：张三    审核医师：李四
报告时间：2024-03-05 10:22
"""


def _of(text: str, *names: str) -> list[str]:
    sections = split_sections(text)
    return [" ".join(getattr(sections, name).split()) for name in names]


def test_an_american_report() -> None:
    findings, impression, indication, comparison, technique, other = _of(
        BOSTON, "findings", "impression", "indication", "comparison", "technique", "other"
    )
    assert findings.startswith("Cardiac size is normal.")
    assert findings.endswith("pleural effusion.")
    assert impression.startswith(
        "1. Right lower lobe pneumonia. 2. Recommend follow-up radiographs in 6 weeks."
    )
    assert indication == "___ year old woman with cough and fever // r/o pneumonia"
    assert (comparison, technique) == ("Chest radiograph ___", "CHEST (PA AND LAT) Chest PA and lateral")
    assert "14:05" in other


def test_findings_without_a_heading_after_the_history() -> None:
    findings, impression, history = _of(UNHEADED_FINDINGS, "findings", "impression", "history")
    assert (
        findings == "Single portable view of the chest demonstrates low lung volumes. The heart is enlarged."
    )
    assert (impression, history) == ("Mild pulmonary oedema.", "Hypoxia.")


def test_a_british_report() -> None:
    findings, impression, indication = _of(LONDON, "findings", "impression", "indication")
    assert findings == "The heart is not enlarged. There is a 3 cm mass in the left upper zone."
    assert impression == "Suspicious left upper zone mass. CT advised."
    assert indication == "Ex-smoker, haemoptysis. ?malignancy"


def test_a_report_on_one_line() -> None:
    assert _of(INDIANA, "findings", "impression", "indication", "comparison") == [
        "The heart size is normal. The lungs are clear.", "No acute disease.", "Chest pain.", "None.",
    ]  # fmt: skip


def test_a_chinese_report() -> None:
    findings, impression, indication, technique, other = _of(
        WUHAN, "findings", "impression", "indication", "technique", "other"
    )
    assert findings.startswith("双肺纹理增多")
    assert findings.endswith("肋膈角锐利。")
    assert "与前片对比：病灶较前稍吸收" in findings
    assert impression == "1. 右肺下野炎症，较前稍吸收，建议治疗后复查。 2. 主动脉硬化。"
    assert (indication, technique) == ("咳嗽待查", "胸部正侧位")
    assert {"张三", "李四", "56岁"} <= set(other.split())


@pytest.mark.parametrize(
    ("text", "findings", "impression"),
    [
        ("Findings: Clear. Impression: Normal.", "Clear.", "Normal."),
        ("FINDINGS\nClear.\nIMPRESSION\nNormal.", "Clear.", "Normal."),
        (
            "FINDINGS The lungs are clear. IMPRESSION No acute disease.",
            "The lungs are clear.",
            "No acute disease.",
        ),
        ("The lungs are clear. CONCLUSION: Normal chest", "The lungs are clear.", "Normal chest"),
        ("**Findings:** Clear. **Impression:** Normal", "Clear.", "Normal"),
        ("Findings - Clear\nOpinion - Normal", "Clear", "Normal"),
        (
            "FINDINGS: LUNGS: Clear. HEART: Normal. IMPRESSION: Normal.",
            "LUNGS: Clear. HEART: Normal.",
            "Normal.",
        ),
        ("FINDINGS/IMPRESSION: Clear.", "Clear.", ""),
        ("【检查所见】双肺清晰。【诊断意见】未见异常。", "双肺清晰。", "未见异常。"),
        ("[影像表现]双肺清晰。[影像诊断]未见异常。", "双肺清晰。", "未见异常。"),
        ("一、检查所见：双肺清晰。二、诊断意见：未见异常。", "双肺清晰。", "未见异常。"),
        ("1、影像所见:双肺清晰。2、印象:未见异常。", "双肺清晰。", "未见异常。"),
        ("检查所见\n双肺清晰。\n诊断意见\n未见异常。", "双肺清晰。", "未见异常。"),
        ("放射学表现：双肺清晰。放射学诊断：未见异常。", "双肺清晰。", "未见异常。"),
        ("胸部DR检查所见：双肺清晰。 结论：未见异常。", "双肺清晰。", "未见异常。"),
    ],
)
def test_headings_in_their_spellings(text: str, findings: str, impression: str) -> None:
    assert _of(text, "findings", "impression") == [findings, impression]


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are clear.",
        "The findings: nodule and scar. The impression is of mass effect on the trachea.",
        "Findings are consistent with pneumonia. History of smoking is noted.",
        "No change in comparison with the prior study. Technique is limited by rotation.",
        "双肺纹理清晰，与前片对比未见明显变化，建议结合临床。",
        "右肺上叶所见结节，考虑诊断为结核。",
    ],
)
def test_words_inside_sentences_are_no_headings(text: str) -> None:
    assert split_sections(text) == Sections(findings=text)


@pytest.mark.parametrize("text", ["None.", "N/A", "---", "无", "见报告。", "See scanned report", " "])
def test_what_says_nothing_is_no_finding(text: str) -> None:
    assert training_text(split_sections(text)) == ""


def test_history_and_signatures_stay_out_of_training() -> None:
    for text in (BOSTON, LONDON, INDIANA, WUHAN):
        learned = training_text(split_sections(text))
        assert learned
        assert not any(
            w in learned for w in ("Ex-smoker", "GMC", "Chest pain", "张三", "王某", "14:05", "10:22")
        )


def test_headings_and_other_sections_on_demand() -> None:
    assert training_text(split_sections(INDIANA), headings=True) == (
        "Findings: The heart size is normal. The lungs are clear. Impression: No acute disease."
    )
    assert training_text(split_sections(WUHAN), parts=("indication",), headings=True) == "临床资料：咳嗽待查"
    assert training_text(split_sections("FINDINGS: Clear IMPRESSION: Normal")) == "Clear. Normal."


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("Findings", "findings"), ("IMPRESSIONS:", "impression"), ("影像学表现", "findings"), ("诊断印象：", "impression"),
        ("X线表现", "findings"), ("Reason for exam", "indication"), ("病史", "history"), ("Diameter", ""), ("", ""),
    ],
)  # fmt: skip
def test_headings_by_name(heading: str, section: str) -> None:
    assert section_of(heading) == section


def test_sections_never_print_themselves() -> None:
    assert "clear" not in repr(Sections(findings="clear"))


HEADINGS = st.sampled_from(
    ["FINDINGS: ", "Impression:\n", "INDICATION: ", "\nHISTORY\n", "IMPRESSION ", "检查所见：", "【诊断意见】", "\n\n", ". ", " ", "：", "1. ", "报告医师："]
)  # fmt: skip
WORDS = st.sampled_from(
    ["The lungs are clear.", "nodule", "No", "双肺清晰。", "None", "findings", "Impression", "12 mm", "诊断"]
)
REPORTS = st.lists(st.one_of(HEADINGS, WORDS, st.text(max_size=6)), max_size=14).map("".join)


@given(REPORTS)
def test_no_word_is_lost(text: str) -> None:
    cut = pieces(text)
    assert "".join(p.heading + p.body for p in cut) == text
    sections = split_sections(text)
    kept = "".join(getattr(sections, name) for name in NAMES)
    assert sorted("".join(kept.split())) == sorted("".join("".join(p.body for p in cut).split()))


@given(
    st.lists(
        st.sampled_from(["The lungs are clear.", "No effusion.", "双肺清晰。", "Heart normal"]),
        min_size=1,
        max_size=3,
    )
)
def test_what_was_split_stays_as_it_is(sentences: list[str]) -> None:
    body = " ".join(sentences)
    for text in (
        body,
        f"INDICATION: cough\nFINDINGS: {body}\nIMPRESSION: Normal.",
        f"检查所见：{body}诊断意见：正常。",
    ):
        once = training_text(split_sections(text))
        assert training_text(split_sections(once)) == once
