"""Reports: how mentions add up, where they stand, which sections speak, which language it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.errors import UsageError
from xraytk.tasks.findings import FINDINGS, Mention, aggregate, label, label_many, language_of

REPORT = (
    "INDICATION: Cough, rule out pneumonia.\n"
    "COMPARISON: Radiograph with left pneumothorax.\n\n"
    "FINDINGS: Right PICC in place. Small left pleural effusion with adjacent atelectasis.\n"
    "No pneumothorax.\n\nIMPRESSION: 1. Small left effusion. 2. Possible pneumonia."
)


def of(text: str, lang: str = "en") -> dict[str, int]:
    return {name: state for name, state in label(text, lang).findings.items() if state is not None}


def mention(finding: str, state: int, side: str | None = None, sign: bool = False) -> Mention:
    return Mention(finding, 0, 1, state, side, sign)  # type: ignore[arg-type]


# ---------------------------------------------------------------- adding up


@pytest.mark.parametrize(
    ("states", "wanted"), [((1, 0), 1), ((1, -1, 0), 1), ((-1, 0), -1), ((0, 0), 0), ((-1,), -1), ((), None)]
)
def test_present_beats_uncertain_beats_absent(states: tuple[int, ...], wanted: int | None) -> None:
    assert aggregate([mention("Edema", state) for state in states])["Edema"] == wanted


def test_no_finding_is_said_only_where_nothing_but_devices_is_present_or_uncertain() -> None:
    assert aggregate([])["No Finding"] == 1
    assert aggregate([mention("Support Devices", 1), mention("Edema", 0)])["No Finding"] == 1
    assert aggregate([mention("Support Devices", -1)])["No Finding"] == 1
    assert aggregate([mention("Edema", -1)])["No Finding"] is None
    assert aggregate([mention("Fracture", 1)])["No Finding"] is None


def test_no_parent_is_inferred_from_its_child() -> None:
    assert of("Right lower lobe consolidation. Cardiomegaly.") == {"Consolidation": 1, "Cardiomegaly": 1}


def test_an_indirect_sign_gives_way_to_direct_words_on_its_side() -> None:
    assert of("Blunted left costophrenic angle. No pleural effusion.")["Pleural Effusion"] == 0
    assert of("Blunted left costophrenic angle. No right effusion.")["Pleural Effusion"] == -1
    assert of("Vascular congestion. No edema.")["Edema"] == 0
    assert of("左侧肋膈角变钝，少量积液。", "zh")["Pleural Effusion"] == 1


def test_the_order_is_chexperts_and_all_fourteen_are_there() -> None:
    assert tuple(label("", "en").findings) == FINDINGS
    assert len(FINDINGS) == 14


@pytest.mark.parametrize("text", ["", "  \n", "...", "12 3"])
def test_a_text_without_words_says_nothing_not_even_that_there_is_no_finding(text: str) -> None:
    assert of(text) == {}
    assert of(text, "zh") == {}


def test_a_normal_report_has_no_finding() -> None:
    assert of("The heart and lungs are normal.") == {"No Finding": 1, "Cardiomegaly": 0, "Lung Opacity": 0}
    assert of("心肺膈未见异常。", "zh") == {"No Finding": 1, "Cardiomegaly": 0, "Lung Opacity": 0}


# ---------------------------------------------------------------- places


def test_a_mention_stands_where_it_says() -> None:
    labels = label(REPORT, "en")
    words = [(m.finding, REPORT[m.start : m.end].lower()) for m in labels.mentions]
    assert words == [
        ("Support Devices", "picc"),
        ("Pleural Effusion", "pleural effusion"),
        ("Atelectasis", "atelectasis"),
        ("Pneumothorax", "pneumothorax"),
        ("Pleural Effusion", "effusion"),
        ("Pneumonia", "pneumonia"),
    ]
    assert [m.state for m in labels.mentions] == [1, 1, 1, 0, 1, -1]
    assert [m.side for m in labels.mentions] == ["right", "left", "left", None, "left", None]


def test_places_hold_behind_letters_that_grow_in_lower_case() -> None:
    text = "İİİ ﬁlm. Small ＰＩＣＣ and effusion."
    assert [text[m.start : m.end] for m in label(text, "en").mentions] == ["ＰＩＣＣ", "effusion"]


def test_what_asks_or_tells_of_the_past_in_its_own_section_is_left_out() -> None:
    assert "Pneumothorax" not in of("HISTORY: Pneumothorax.\n\nFINDINGS: The heart is large.")
    text = "临床诊断：左侧气胸。\n检查所见：右侧少量胸腔积液。\n诊断意见：右侧胸腔积液。"
    assert of(text, "zh") == {"Pleural Effusion": 1}
    assert label(text, "zh").side("Pleural Effusion") == "right"


def test_sides_of_several_mentions_are_joined_and_of_other_states_are_not() -> None:
    labels = label("Small right effusion. Small left effusion.", "en")
    assert labels.side("Pleural Effusion") == "bilateral"
    labels = label("No right pneumothorax. Small left pneumothorax.", "en")
    assert labels.side("Pneumothorax") == "left"
    assert labels.side("Edema") is None


def test_lines_that_are_wrapped_are_one_sentence_and_short_lines_are_several() -> None:
    wrapped = "There is no evidence of focal consolidation, of a nodule, or of a\nlarge effusion."
    assert of(wrapped)["Pleural Effusion"] == 0
    assert of("No pneumothorax\nSmall effusion")["Pleural Effusion"] == 1


def test_labels_do_not_print_their_places() -> None:
    assert "mentions" not in repr(label(REPORT, "en"))


# ---------------------------------------------------------------- both languages

PAIRS = [
    ("No pneumothorax or pleural effusion.", "未见气胸及胸腔积液。"),
    ("Right lower lobe opacity, likely pneumonia.", "右下肺斑片影，考虑肺炎。"),
    ("The heart is enlarged.", "心影增大。"),
    ("The costophrenic angles are sharp bilaterally.", "双侧肋膈角锐利。"),
    ("Left pneumothorax has resolved.", "左侧气胸已吸收。"),
    ("Pneumonia is not excluded.", "肺炎不除外。"),
    ("Old fracture of the left clavicle.", "左侧锁骨陈旧性骨折。"),
    ("The endotracheal tube has been removed.", "气管插管已拔除。"),
    ("Bilateral pleural thickening.", "双侧胸膜增厚。"),
    ("Atelectasis or pneumonia in the right middle lobe.", "右肺中叶不张或肺炎。"),
    ("No change in the right pleural effusion.", "右侧胸腔积液较前无明显变化。"),
    ("Congestive heart failure.", "充血性心力衰竭。"),
]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[en for en, _ in PAIRS])
def test_a_sentence_and_its_translation_say_the_same(english: str, chinese: str) -> None:
    en, zh = label(english, "en"), label(chinese, "zh")
    assert en.findings == zh.findings
    assert {name: en.side(name) for name in FINDINGS} == {name: zh.side(name) for name in FINDINGS}


def test_another_language_is_refused() -> None:
    with pytest.raises(UsageError, match="no rules to label this language"):
        label("Kein Erguss.", "de")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Cardiomegaly.", "en"),
        ("No effusion. PICC in situ.", "en"),
        ("双肺未见异常，PICC 在位。", "zh"),
        ("左锁骨下 PICC", "zh"),
        ("Kein Pleuraerguss. Das Herz ist normal groß.", "other"),
        ("Pas d'épanchement pleural. Le cœur est de taille normale.", "other"),
        ("Sin derrame pleural. El corazón es de tamaño normal.", "other"),
        ("胸水はありません。心臓は正常です。", "other"),
        ("Плеврального выпота нет.", "other"),
        ("", ""),
        ("12.5 %", ""),
    ],
)
def test_a_language_is_told(text: str, wanted: str) -> None:
    assert language_of(text) == wanted


# ---------------------------------------------------------------- laws

_EN = "no not without effusion pneumonia left right and , or but may heart is enlarged normal ? / . ; clear"
_ZH = "未见 双肺 肺炎 ， 、 可能 积液 心影 增大 。 ？ 气胸 已吸收 左侧 及"
WORDS = st.sampled_from([*_EN.split(), *_ZH.split()])


@given(
    st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=30).map(" ".join)), st.sampled_from(["en", "zh"])
)
def test_any_text_is_labelled_and_its_mentions_lie_within_it(text: str, lang: str) -> None:
    labels = label(text, lang)
    assert set(labels.findings) == set(FINDINGS)
    for m in labels.mentions:
        assert 0 <= m.start < m.end <= len(text)
        assert m.state in (1, 0, -1)
        assert m.finding in FINDINGS[1:]
    assert labels == label(text, lang)


@given(st.permutations(["No pneumothorax.", "Left effusion.", "Possible pneumonia.", "The heart is large."]))
def test_the_order_of_sentences_changes_nothing(parts: list[str]) -> None:
    assert of(" ".join(parts)) == {
        "Pneumothorax": 0,
        "Pleural Effusion": 1,
        "Pneumonia": -1,
        "Cardiomegaly": 1,
    }


def test_many_reports_are_labelled_as_one_by_one() -> None:
    texts = [REPORT, "", "No effusion."]
    assert label_many(texts, "en") == [label(text, "en") for text in texts]


@pytest.mark.parametrize(
    ("unit", "lang"),
    [
        ("bony or lytic ", "en"),
        ("no effusion, ", "en"),
        ("pleural ", "en"),
        ("a", "en"),
        ("(", "en"),
        ("斑片状、", "zh"),
        ("较前明显", "zh"),
        ("胸腔少量", "zh"),
        ("肺", "zh"),
        ("未见明显积液，", "zh"),
    ],
)
def test_a_text_that_repeats_itself_without_end_says_what_it_says_once(unit: str, lang: str) -> None:
    """No pattern may go back without end: such a one would never return here."""
    assert set(of(unit * (4000 // len(unit)), lang).items()) >= set(of(unit, lang).items())


def test_a_report_in_another_language_says_nothing() -> None:
    texts = ["双肺未见异常。", "Kein Pneumothorax. Das Herz ist normal groß.", "The lungs are clear."]
    found = [labels.findings for labels in label_many(texts, "en")]
    assert [one["No Finding"] for one in found] == [None, None, 1]
    assert set(found[1].values()) == {None}
