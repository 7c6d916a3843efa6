"""Reports taken apart: findings, impression, and what is not for training.

Headings as English and Chinese radiologists write them, on lines of their own or within one line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import NamedTuple

NAMES = ("findings", "impression", "indication", "comparison", "technique", "history", "other")
"""The sections."""

_ENGLISH: dict[str, str] = {
    "findings": (
        r"(?:(?:x-?ray|radiographic|radiological|radiology|chest|imaging|cxr|final)\s+)?findings?"
        r"(?:\s*(?:/|and|&)\s*(?:impressions?|conclusions?))?"
        r"|observations?|descriptions?|report\s+text|report|comments?|interpretation"
    ),
    "impression": (
        r"(?:(?:final|radiological|radiographic|diagnostic)\s+)?impressions?"
        r"(?:\s*(?:/|and|&)\s*(?:recommendations?|plan))?"
        r"|conclusions?|opinion|summary|assessment|(?:final\s+|radiological\s+)?diagnos[ie]s|recommendations?"
    ),
    "indication": (
        r"(?:clinical\s+)?indications?|reason\s+for\s+(?:this\s+|the\s+)?(?:exam(?:ination)?|study)"
        r"|clinical\s+(?:information|details|data|question|statement)|reason\s+for\s+referral"
    ),
    "comparison": r"comparisons?(?:\s+(?:study|studies|exams?|films?))?|compared\s+(?:with|to)"
    r"|prior\s+(?:study|studies|exams?|films?)",
    "technique": (
        r"techniques?|procedures?(?:\s+comments?)?|exam(?:ination)?(?:\s+type)?|views?|projections?"
        r"|study(?:\s+type)?|imaging\s+technique|type\s+of\s+(?:exam(?:ination)?|study)"
    ),
    "history": (
        r"(?:(?:clinical|medical|patient|relevant|past\s+medical|brief|underlying)\s+)?history"
        r"|(?:underlying\s+)?medical\s+condition|patient\s+presentation"
    ),
    "other": (
        r"final\s+report|preliminary\s+report|wet\s+read|addend(?:um|a)|notifications?|radiology\s+report"
        r"|(?:electronically\s+|digitally\s+)?signed(?:\s+(?:electronically|off))?\s+by|dictated(?:\s+by)?"
        r"|transcribed(?:\s+by)?|(?:reported|interpreted|authenticated|approved|verified|read)\s+by"
        r"|(?:(?:attending|reading|reporting|referring|ordering|requesting)\s+)?"
        r"(?:radiologist|physician|consultant|resident|technologist|radiographer)|attending"
        r"|patient(?:'?s)?(?:\s+name|\s+id)?|name|mrn|medical\s+record(?:\s+(?:no\.?|number))?|date\s+of\s+birth"
        r"|dob|accession(?:\s+(?:no\.?|number|\#))?|(?:exam|study|report|signed|dictation)?\s?date(?:/time)?|sex|age|gender"
        r"|hospital|institution|ward|department"
    ),
}
_CHINESE: dict[str, str] = {
    "findings": ("(?:影像学?|检查|放射学?|放射线?|胸片|摄片|报告|图像)?(?:所见|表现|描述)|检查结果描述"),
    "impression": (
        "(?:影像学?|放射学?|初步|检查|报告)?(?:诊断)?(?:意见|印象|结论|结果|提示)|(?:影像学?|放射学?|初步|报告)?诊断|建议"
    ),
    "indication": "临床(?:诊断|资料|信息|情况|印象|表现)|(?:检查|申请)(?:目的|原因)|送检目的|入院诊断|适应症",
    "comparison": "对比(?:检查|资料|片)?|比较|对照|前片对比|(?:既往|参考|前)(?:片|影像|检查)|与前片比较",
    "technique": (
        "(?:检查|扫描|摄影|摄片|成像)?(?:方法|技术)|检查(?:部位|项目|名称|类型|体位)|(?:投照|摄影)?体位|部位|影像设备"
    ),
    "history": "(?:简要|临床|现|既往|主要)?病史|病史摘要|主诉|既往史|现病史|症状(?:体征)?",
    "other": (
        "(?:报告|审核|诊断|检查|主治|申请|送检|书写|复核|审签|签发|阅片|摄片|记录|操作)(?:医师|医生|者|人|技师|科室|时间|日期)"
        "|(?:报告|审核|检查|登记|打印|申请|送检|出生)(?:时间|日期)|(?:患者|病人)?(?:姓名|性别|年龄|编号)|医师签名|签名|技师|医师|医生"
        "|科室|病区|床号|(?:住院|门诊|检查|影像|病历|病案|登记|放射|CT|DR|X线|X光|片)号|送检单位|医院|备注|注"
    ),
}
_PREFIX = r"(?:(?:胸部|X\s?线|X\s?光|DR|CR|CT)\s?)*"
_OPEN, _CLOSE = r"[【\[〔《<＜「(（]", r"[】\]〕》>＞」)）]"
_NUMBERING = (
    r"(?:(?:\d{1,2}|[一二三四五六七八九十])\s?[.、．)）]\s?|[(（](?:\d{1,2}|[一二三四五六七八九十])[)）]\s?)"
)
_EDGE = r"(?:^|(?<=[\s。；;，,.!?！？、)）】\]:：*#>]))"
_NO_COLON = (  # these head a section even without a colon
    r"FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|INDICATIONS?|COMPARISONS?|TECHNIQUES?|(?:CLINICAL\s+)?HISTORY"
    r"|FINAL\s+REPORT|WET\s+READ|REASON\s+FOR\s+(?:THIS\s+|THE\s+)?EXAM(?:INATION)?"
)
_SIGNED = (
    r"(?:electronically\s+|digitally\s+)?signed(?:\s+(?:electronically|off))?\s+by"
    r"|dictated\s+by|transcribed\s+by"
)
_LANGUAGE_SHARE = 0.2
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def _any(table: dict[str, str]) -> str:
    return "|".join(f"(?:{words})" for words in table.values())


_EN, _ZH = f"(?:{_any(_ENGLISH)})", f"{_PREFIX}(?:{_any(_CHINESE)})"
_WRAP = r"(?:[*#_]{1,4}[ \t]*)?"
_HEADING = re.compile(
    rf"""
    {_EDGE}{_WRAP}{_NUMBERING}?(?:
        {_OPEN}[ \t]*(?P<boxed>{_ZH}|(?i:{_EN}))[ \t]*{_CLOSE}[ \t]*[:：]?
      | (?P<colon>{_ZH}|(?=[A-Z])(?i:{_EN}))[ \t]*[*_]{{0,2}}[ \t]*[:：][*_]{{0,2}}
      | (?P<signed>(?i:{_SIGNED}))
    )[ \t]*
    |
    ^[ \t]*{_WRAP}{_NUMBERING}?(?:
        (?P<line>{_ZH}|(?=[A-Z])(?i:{_EN}))[ \t]*[*_]{{0,2}}[ \t]*-{{0,3}}[ \t]*$
      | (?P<spaced>{_ZH}(?=[ \t\u3000]+{_CJK.pattern}|[ \t\u3000]*\d[.、])
        | (?:{_NO_COLON})(?=[ \t]+(?:-[ \t]|\d+[.)]|[A-Z]?[a-z]|A[ \t]))
        | (?:Findings|Impression|Conclusion|Indication|Technique|Clinical\ [Hh]istory)(?=[ \t]+[A-Z][a-z])
        | (?P<dashed>(?=[A-Z])(?i:{_EN})(?=[ \t]+[-–][ \t]+\w)))
      | (?P<early>(?:FINAL|PRELIMINARY|RADIOLOGY)[ \t]+REPORT\b)
    )(?:[ \t]+[-–][ \t])?[ \t\u3000]*
    |
    (?<=[.!?。)）][ ])(?P<inline>(?:{_NO_COLON})(?=[ \t]+(?:\d+[.)]|[A-Z]?[a-z]|A[ \t])))[ \t]*
    """,
    re.VERBOSE | re.MULTILINE,
)
_EXACT = [
    (re.compile(words if is_zh else f"(?i:{words})"), name)
    for is_zh, table in ((True, _CHINESE), (False, _ENGLISH))
    for name, words in table.items()
]
_NOTHING = re.compile(
    r"[\W\d_]*(?:none|n/?a|nil|null|nan|pending|not\s+available|no\s+report|see\s+(?:the\s+)?(?:scanned\s+)?report"
    r"|report\s+to\s+follow|as\s+above|dictated|无|无报告|暂无|详见报告|见报告|未见报告|未写报告|待报告|略|同上)?[\W\d_]*",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[.。！!；;，]|(?:[^\W\d_]+[^\w]+){7}")
_SHORT = ("indication", "comparison", "technique", "history", "other")


@dataclass(frozen=True, slots=True)
class Sections:
    """The parts of a report; "" where there is none. They never print themselves."""

    findings: str = field(default="", repr=False)
    impression: str = field(default="", repr=False)
    indication: str = field(default="", repr=False)
    comparison: str = field(default="", repr=False)
    technique: str = field(default="", repr=False)
    history: str = field(default="", repr=False)
    other: str = field(default="", repr=False)


class Piece(NamedTuple):
    """A stretch of a report: its section, the heading as written, and what stands below it."""

    section: str
    heading: str
    body: str


def language_of(text: str) -> str:
    """Tell a text's language: "zh" if a fifth of its letters or more are Chinese, else "en".

    Source:
        Ours: Chinese reports hold some Latin abbreviations, English ones no Chinese at all.
    """
    chinese = len(_CJK.findall(text))
    letters = sum(c.isalpha() for c in text)
    return "zh" if letters and chinese >= _LANGUAGE_SHARE * letters else "en"


def section_of(heading: str) -> str:
    """The section that a heading opens, "Findings" or "影像诊断"; "" if it is no known heading."""
    plain = re.sub(r"\s+", " ", heading.strip(" \t\n:：*#_.【】[]()（）"))
    plain = re.sub(f"^{_PREFIX}", "", plain)
    return next((name for pattern, name in _EXACT if pattern.fullmatch(plain)), "")


def pieces(text: str) -> list[Piece]:
    """Cut a report at its headings; headings and bodies put together again are the text.

    Text before the first heading, and a paragraph that follows a short section such as the
    indication, are findings if no heading says where those are and they read like prose.

    Args:
        text: A report, on one line or many.

    Returns:
        At least one piece, unless the text is "".

    Source:
        Ours, after reports of MIMIC-CXR, Open-i, and UK and Chinese hospitals.
    """
    cuts = [(m.start(), m.end(), _section_of_match(m)) for m in _HEADING.finditer(text)]
    if not cuts:
        return [Piece("other" if _NOTHING.fullmatch(text) else "findings", "", text)] if text else []
    unsaid = not any(section == "findings" for _, _, section in cuts)
    out: list[Piece] = []
    if start := cuts[0][0]:
        out.append(Piece(_unheaded(text[:start], unsaid), "", text[:start]))
    for (begin, end, section), (until, _, _) in zip(cuts, [*cuts[1:], (len(text), 0, "")], strict=True):
        body = text[end:until]
        gap = re.search(r"\S[^\S\n]*(\n[^\S\n]*){2,}(?=\S)", body) if section in _SHORT and unsaid else None
        if gap and _unheaded(body[gap.end() :], unsaid) == "findings":
            out.append(Piece(section, text[begin:end], body[: gap.end()]))
            out.append(Piece("findings", "", body[gap.end() :]))
        else:
            out.append(Piece(section, text[begin:end], body))
    return out


def split_sections(text: str) -> Sections:
    """Split a report into its sections; text without any heading is all findings.

    Args:
        text: A report in English or Chinese.

    Returns:
        The sections without their headings; those that come twice are joined.
    """
    found: dict[str, list[str]] = {name: [] for name in NAMES}
    for piece in pieces(text):
        if body := piece.body.strip():
            found[piece.section].append(body)
    return Sections(**{name: "\n".join(bodies) for name, bodies in found.items()})


def training_text(
    sections: Sections, *, parts: tuple[str, ...] = ("findings", "impression"), headings: bool = False
) -> str:
    """What of a report a model learns to write, as one line.

    The rest is left out: what is seen does not say it, and it often holds names and ages.

    Args:
        sections: Of `split_sections`.
        parts: Sections that are taken, in this order; any of `NAMES`.
        headings: Put "Findings:" or "检查所见：" before each.
    """
    texts = [(name, tidy(getattr(sections, name))) for name in parts]
    texts = [(name, text) for name, text in texts if text]
    if not headings:
        return joined([text for _, text in texts])
    return joined([_heading(name, language_of(text)) + text for name, text in texts])


def tidy(text: str) -> str:
    """One line, without control characters and doubled blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def joined(parts: list[str]) -> str:
    """Texts as one; where there are several, each is ended by a full stop."""
    parts = [part for part in parts if part]
    out = ""
    for part in parts if len(parts) > 1 else ():
        zh = language_of(part) == "zh"
        ended = part if part[-1] in ".。!?！？;；" else part + ("。" if zh else ".")
        out += ended if zh or not out else " " + ended
    return out or "".join(parts)


def _heading(name: str, language: str) -> str:
    zh = {"findings": "检查所见", "impression": "诊断意见", "indication": "临床资料", "comparison": "对比"}
    zh |= {"technique": "检查方法", "history": "病史", "other": "其他"}
    return f"{zh[name]}：" if language == "zh" else f"{name.capitalize()}: "


def _section_of_match(found: re.Match[str]) -> str:
    words = next(w for w in (found["dashed"], *found.groups()) if w)
    if found["signed"] or found["early"]:
        return "other"
    return section_of(words) or "other"


def _unheaded(body: str, unsaid: bool) -> str:
    """The section of text that no heading claims."""
    return "findings" if unsaid and not _NOTHING.fullmatch(body) and _PROSE.search(body) else "other"


assert tuple(f.name for f in fields(Sections)) == NAMES
