"""Hospitals, wards, beds and addresses in reports, in English and Chinese."""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found, is_hole

_HOUSE = r"(?:Hospitals?|Medical\s+Cent(?:er|re)|Clinic|Infirmary|Health\s+Cent(?:er|re)|Polyclinic|Sanatorium|Hospice)"
_PLACES = (
    re.compile(
        rf"\b(?:from|at|to|in|of|@)\s+(?:the\s+)?(?P<x>(?:(?!Outside|Referring|Our|Local|This|Another)[A-Z][\w.'’&-]*\s+(?:of\s+|and\s+|de\s+)?){{1,5}}{_HOUSE}(?:\s+of\s+(?:[A-Z][\w-]*\s?)+)?)"
    ),
    re.compile(
        r"\b(?i:hospital|institution|facility|clinic|ward|department|dept|address|employer)\s*:\s*(?P<x>(?:[A-Z\d][\w.'’&-]*[ \t,]*){1,7})"
    ),
    re.compile(
        r"\b(?i:ward|bed|room|rm|bay)\s*(?i:no\.?|number|#|:)?\s*(?P<x>[A-Z]{0,2}-?\d{1,4}[A-Z]?)\b(?!\s*(?i:days?|hours?|weeks?|months?|years?|min))"
    ),
)
_PLACES_ZH = (
    re.compile(r"(?:家住|现住|住于|住在)(?P<x>[^\s,;。、:(（]{2,30})"),
    re.compile(r"(?:医院|医疗机构|机构|科室|科别|病区|病房|(?:家庭|现|联系|户籍)?(?:地址|住址)|籍贯|工作单位|单位|送检单位)(?:名称)?\s*[:]\s*(?P<x>(?![a-zA-Z]{1,3}\b)[^\s,;。、:】\]]{1,30})"),
    re.compile(rf"(?:于|在|自|由|从|往|至|到)(?P<x>(?!我|本|外|当地|上级|其他|其它|某|该|专科|综合|下级|基层|就近|社区医院|大)[{CJK}]{{2,14}}?(?:医院|卫生院|诊所|医学院))"),
    re.compile(rf"(?P<x>(?![于在自由从往至到])[{CJK}]{{2,8}}(?:省|市|县|区|州)[{CJK}]{{0,10}}(?:人民|中心|中医|妇幼|肿瘤|胸科|附属|第[一二三四五六七八九十]+)[{CJK}]{{0,6}}医院)"),
)  # fmt: skip


def places(text: str) -> Iterator[Found]:
    """Names of houses, wards and beds, and addresses.

    Args:
        text: In which full-width letters, digits and signs have been made plain.

    Source:
        Ours.
    """
    han = re.search(f"[{CJK}]", text) is not None
    for pattern in (*_PLACES, *(_PLACES_ZH if han else ())):
        for found in pattern.finditer(text):
            if not is_hole(found["x"]):
                start, end = found.span("x")
                yield Found(start, start + len(text[start:end].rstrip(" ,\t.")), "place")
