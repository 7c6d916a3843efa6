"""Left and right in words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data.sides import swapped

ENGLISH = {
    "Left pleural effusion.": "Right pleural effusion.",
    "LEFT LUNG CLEAR": "RIGHT LUNG CLEAR",
    "Small left-sided effusion, right is clear.": "Small right-sided effusion, left is clear.",
    "Leftward shift of the trachea": "Rightward shift of the trachea",
    "RUL and LLL opacities, RML collapse": "LUL and RLL opacities, LML collapse",
    "right middle lobe": "left middle lobe",
    "Rt. effusion; Lt base clear": "Lt. effusion; Rt base clear",
    "L lung and R base": "R lung and L base",
    "Dextroscoliosis": "Levoscoliosis",
    "No effusion on the left.": "No effusion on the right.",
    "No effusion right or left": "No effusion left or right",
    "The patient has left upper lobe pneumonia.": "The patient has right upper lobe pneumonia.",
    "Effusion is left sided.": "Effusion is right sided.",
    "The catheter on the right was left in place.": "The catheter on the left was left in place.",
    "No effusion right, small left.": "No effusion left, small right.",
    "Effusion: small left, none right.": "Effusion: small right, none left.",
    "L > R, tip of RIJ line (L).": "R > L, tip of LIJ line (R).",
    "At right angles to the right rib": "At right angles to the left rib",
    "left, right and both": "right, left and both",
}
CHINESE = {
    "左肺上叶结节": "右肺上叶结节",
    "右侧胸腔积液，左肋膈角变钝。": "左侧胸腔积液，右肋膈角变钝。",
    "右肺结节约3cm左右": "左肺结节约3cm左右",
    "左右肺纹理增粗": "左右肺纹理增粗",
    "双肺、两侧": "双肺、两侧",
    "左，右": "右，左",
}
KEPT = [
    "Bilateral effusions.",
    "AP upright view, all right.",
    "right now",
    "The patient has left.",
    "The patient left the department.",
    "Left over from before.",
    "Drain was left in situ.",
    "Fracture of L1, 2 L pleural fluid drained.",
    "leFT",
    "",
]


@pytest.mark.parametrize(("text", "wanted"), [*ENGLISH.items(), *CHINESE.items()])
def test_sides_are_swapped(text, wanted):
    assert swapped(text) == wanted
    assert swapped(wanted) == text


@pytest.mark.parametrize("text", KEPT)
def test_words_without_a_side_stay(text):
    assert swapped(text) == text


PIECES = re.split(
    "[|]",
    "left|right|Left|RIGHT|all|no|fluid|has|was|in|place|the|on|now|away|over|angles|at|patient|L|R|lung|2|"
    "RUL|LLL|RML|sided|and|or|is|are|左|右|左右|约|3cm|肺|，|.|;|-|(|)|\n",
)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([" ", " ", "", "-"])), max_size=14))
def test_swapping_twice_changes_nothing(pieces):
    text = "".join(word + gap for word, gap in pieces)
    assert swapped(swapped(text)) == text


@given(st.text(alphabet="左右肺leftrighLR .\n", max_size=30))
def test_swapping_twice_changes_nothing_of_any_text(text):
    assert swapped(swapped(text)) == text
