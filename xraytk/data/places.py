"""Hospitals, wards, beds and addresses in reports, in English and Chinese."""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found, is_hole
from xraytk.data.words import NO_NAME

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
_STATE = "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
_STREET = r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Terrace|Close|Crescent|Highway|Hwy|Square|Parkway|Pkwy|Gardens|Row|Way|Circle|Trail|Grove)\b"
_ADDRESSES = (
    re.compile(r"\b(?:from|at|to|in|of)\s+(?P<x>(?:St\.?|Saint)\s[A-Z][a-z]+['’]s)\b"),
    re.compile(
        rf"(?<![\w.])(?P<x>\d{{1,5}}[A-Za-z]?,?\s+(?:[NSEW]\.?\s+)?(?:[A-Z][\w'’]+\s+|\d+(?:st|nd|rd|th)\s+){{1,3}}{_STREET}\.?(?:,?\s+(?:Apt|Apartment|Unit|Suite|Ste|Flat|#)\.?\s*\w+)?(?:,\s+[A-Z][a-z]+(?:\s[A-Z][a-z]+)?)?)"
    ),
    re.compile(rf"\b(?P<x>(?:[A-Z][a-z]+\s){{0,2}}[A-Z][a-z]+,\s+(?:{_STATE}))(?=\s+\d{{5}}\b)"),
    re.compile(
        rf"(?:\b(?:{_STATE}),?\s+|\b(?i:zip|postal|post)\s?(?i:code)?\s*:?\s*)(?P<x>\d{{5}}(?:-\d{{4}})?)(?![\d.])"
    ),
    re.compile(
        r"\b(?P<x>(?![TLCS]\d)[A-Z]{1,2}\d[A-Z\d]?\s\d(?!CM|MM|ML|HU|KV|FR|MA|RD|TH|ST|ND)[A-Z]{2})\b"
    ),
    re.compile(r"\b(?P<x>P\.?\s?O\.?\s+Box\s+\d+)", re.IGNORECASE),
    re.compile(
        r"\b(?:[Ll]ives|[Rr]esides|[Rr]esident\s+of|[Rr]esiding|[Nn]ative\s+of)\s+(?:at\s+|in\s+|on\s+|of\s+)?(?P<x>[A-Z][a-z]+(?:\s[A-Z][a-z]+){0,2}(?:,\s[A-Z][\w]+)?)"
    ),
    re.compile(
        r"\b(?:on|from|in|to|ward|unit|floor|wing|tower)\s+(?P<x>\d{1,2}\s?(?:East|West|North|South)|(?<=on )\d{1,2}[EWNS]\d?)\b(?!\s*of)"
    ),
    re.compile(
        r"\b(?:(?i:loc(?:ation)?)\s*:|(?i:cubicle|nursing\s+(?:unit|station))\s*[:#]?)\s*(?P<x>[A-Z]{0,4}[- ]?\d{1,4}[A-Z]?)\b(?!\s*(?i:cm|mm))"
    ),
    re.compile(
        r"(?<![\w'’-])(?P<x>(?:(?:[A-Z][\w'’-]+|St\.)\s+(?:of\s+)?){1,4}(?<!Outside )(?<!The )(?<!This )(?<!Our )(?:Hospital|HOSPITAL|Medical\s+Center|Medical\s+Centre|Infirmary))\b"
    ),
)
_UNSURE_STREETS = (
    "Dr",
    "St",
    "Row",
    "Way",
    "Close",
    "Place",
    "Pl",
    "Court",
    "Ct",
    "Square",
    "Circle",
    "Trail",
    "Drive",
)
_KINDS_OF_HOUSE = (
    "The This Outside Our Local Another Other Prior General Memorial University Community Regional Acute Long Term "
    "Children's Referring Day In At To From Outpatient Inpatient Emergency Medical Veterans VA Call Post Pre Since During"
)
_COMMON_HOUSE = frozenset(_KINDS_OF_HOUSE.split())
_PLACES_ZH = (
    re.compile(r"(?:家住|现住|住于|住在)(?P<x>[^\s,;。、:(（]{2,30})"),
    re.compile(r"(?:医院|医疗机构|机构|科室|科别|病区|病房|(?:家庭|现|联系|户籍)?(?:地址|住址)|籍贯|工作单位|单位|送检单位)(?:名称)?\s*[:]\s*(?P<x>(?![a-zA-Z]{1,3}\b)[^\s,;。、:】\]]{1,30})"),
    re.compile(rf"(?:于|在|自|由|从|往|至|到)(?P<x>(?!我|本|外|当地|上级|其他|其它|某|该|专科|综合|下级|基层|就近|社区医院|大)[{CJK}]{{2,14}}?(?:医院|卫生院|诊所|医学院))"),
    re.compile(rf"(?P<x>(?![于在自由从往至到])[{CJK}]{{2,8}}(?:省|市|县|区|州)[{CJK}]{{0,10}}(?:人民|中心|中医|妇幼|肿瘤|胸科|附属|第[一二三四五六七八九十]+)[{CJK}]{{0,6}}医院)"),
    re.compile(rf"(?P<x>(?!我院|本院|外院|上级|当地|[于在自由从往至到与和较])[{CJK}]{{2,3}}(?:协和|同济|湘雅|华西|中山|瑞金|仁济|齐鲁|天坛|同仁|安贞|朝阳|友谊|积水潭)(?:医院|[{CJK}]{{0,4}}医院))"),
    re.compile(rf"(?P<x>(?![于在自由从往至到与和较外我本])[{CJK}]{{2,8}}?(?:大学|医科大学|医学院|军区|矿务局|铁路|[省市县])[{CJK}]{{0,10}}?(?:医院|卫生院|诊所|卫生所|保健院|疗养院))"),
    re.compile(rf"(?P<x>(?![住在于至到从])[{CJK}]{{2,8}}(?:路|街|大道|巷|弄|胡同|街道|村|镇|乡|社区|小区|花园|新村|公寓)(?:\d{{1,5}}|[一二三四五六七八九十]{{1,3}})(?:-\d+)?(?:号|弄|组|栋|幢|队)(?:院|楼)?(?:\d+(?:号楼|栋|幢|单元|层|楼|室|号|座|户))*(?:\d{{2,4}}(?!\d|m|c|年))?)"),
    re.compile(rf"(?P<x>[{CJK}]{{2,3}}(?:省|自治区)[{CJK}]{{1,6}}(?:市|州|盟|县)(?:[{CJK}]{{1,5}}(?:县|区|市|旗))?(?:[{CJK}]{{1,5}}(?:镇|乡|村|街道))*)"),
    re.compile(r"(?<!\d)(?P<x>\d{1,3}(?:号楼|栋|幢)\d*(?:单元|层|楼)?\d*(?:室|病区|病房)?)"),
    re.compile(r"(?:[内外儿妇产骨]|科|楼)?(?P<x>(?:[一二三四五六七八九十]{1,3}|\d{1,2})[ABab东西南北]?)(?<!同一)(?=病区|病室)"),
    re.compile(r"(?P<x>(?<!\d)\d{1,2}楼[东西南北][区侧]?)"),
)  # fmt: skip


def places(text: str) -> Iterator[Found]:
    """Names of houses, wards and beds, and addresses.

    Args:
        text: In which full-width letters, digits and signs have been made plain.

    Source:
        Ours.
    """
    han = re.search(f"[{CJK}]", text) is not None
    for pattern in (*_PLACES, *_ADDRESSES, *(_PLACES_ZH if han else ())):
        for found in pattern.finditer(text):
            if not is_hole(found["x"]) and not _is_common(found["x"]):
                start, end = found.span("x")
                yield Found(start, start + len(text[start:end].rstrip(" ,\t.")), "place")


def _is_common(text: str) -> bool:
    """Whether it names nobody: "Outside Hospital", "Community Hospital", "1 View Dr"."""
    words = text.split()
    if len(words) > 1 and words[0].isdigit() and words[-1].rstrip(".") in _UNSURE_STREETS:
        return any(word.casefold() in NO_NAME for word in words[1:-1])
    return words[-1] in (
        "Hospital",
        "HOSPITAL",
        "Center",
        "Centre",
        "Infirmary",
    ) and _COMMON_HOUSE.issuperset(words[:-1])
