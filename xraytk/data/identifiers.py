"""Numbers, dates and addresses that identify, found by their form, whatever the header says.

English and Chinese. A measurement, a vertebra, a rib, a catheter's size, a duration or a score
must survive; where a form can be both, words beside it decide.
"""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Found(NamedTuple):
    """A stretch of text that identifies somebody: where, and of which kind."""

    start: int
    end: int
    kind: str


LATIN = r"0-9A-Za-z\u00c0-\u024f\u0300-\u036f\u0370-\u04ff\u1e00-\u1eff"
CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u3040-\u30ff"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UNIT = (
    r"(?:[mck]?m|[mcd]?l|[mk]?g|mcg|cc|kvp?|mas|ma|hu|bpm|fr|french|mmhg|units?|%|percent|days?|weeks?|wks?|"
    r"months?|years?|yrs?|minutes?|mins?|hours?|hrs?|毫米|厘米|毫升|公分|度|天|周|个|小时|年|岁|分钟|次)(?![a-z])"
)
_SIZE = rf"(?!\s*(?:-\s*)?{_UNIT})"
_FREE, _OVER = rf"(?<![{LATIN}])(?<!\d[.,])", rf"(?![{LATIN}])"

_FULL = "january|february|march|april|may|june|july|august|september|october|november|december"
_MONTH = rf"(?:{_FULL}|sept|{'|'.join(MONTHS)})\.?"
_SURE = (  # names of months that are no other word, or are capitalised
    r"(?:january|february|april|june|july|august|september|october|november|december|"
    r"(?-i:March|MARCH|May|MAY|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|JAN|FEB|APR|JUN|JUL|AUG|SEP|OCT|"
    r"NOV|DEC)(?![a-z])\.?)"
)
_Y4, _Y, _M, _D = (
    r"(?:19|20)\d{2}",
    r"(?:(?:19|20)\d{2}|['’]?\d{2})",
    r"(?:1[0-2]|0?[1-9])",
    r"(?:3[01]|[12]\d|0?[1-9])",
)
_NTH = rf"{_D}(?:st|nd|rd|th)?"
_GAP = r"[\s,./-]{0,3}"
_SEP = r"\s?[-./]\s?"
_NUM = "[〇零一二三四五六七八九十廿]"
_CUE = (
    r"(?:on|dated?|since|performed|stud(?:y|ies)|exam(?:ination)?s?|radiographs?|films?|comparison|compared\s+(?:to|with)|"
    r"prior|from|x-?rays?|cxr|ct|obtained|"
    r"seen|taken|done|acquired|placed|admitted|discharged|visit|visited|reviewed|called|until|through|by|as\s+of|yesterday|today|tonight|last\s+night|"
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?,?)"
)

_ANY, _HAN, _SLASH = re.compile(r"\d"), re.compile("[\u4e00-\u9fff]"), re.compile(r"\d/\d")
_THREE = re.compile(r"\d\D{0,4}\d\D{0,4}\d")
_NET = re.compile(r"@|://|www\.", re.IGNORECASE)
_DOMAIN = re.compile(r"[a-z]\.(?:com|org|net|edu|gov|mil|local|lan|cn|uk|de|int|info)|\\\\", re.IGNORECASE)
_MAC = re.compile(r"[\da-f]{2}[:-][\da-f]{2}[:-][\da-f]{2}[:-]", re.IGNORECASE)
_OLD = re.compile("9\\d|1[0-2]\\d|ninety|hundred|九十|一百", re.IGNORECASE)
_MONTHLY = re.compile("|".join(MONTHS), re.IGNORECASE)

_RULES: list[tuple[str, re.Pattern[str], str]] = [
    ("email", _NET, r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"),
    ("url", _NET, r"(?:https?://|ftp://|www\.)[^\s,;，。；、)）>\u4e00-\u9fff]+"),
    ("url", _DOMAIN, r"(?<![\w@.-])(?:[a-z][\w-]{0,62}\.){1,4}(?:com|org|net|edu|gov|mil|local|lan|cn|uk|de|int|info)(?:[/:][^\s,;，。；、)）>\u4e00-\u9fff]*)?(?![\w-])"),
    ("url", _DOMAIN, r"\\\\[\w.$-]+\\[^\s,;]+"),
    ("id", _MAC, r"(?<![\w:-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])"),
    # dates
    ("date", _THREE, rf"{_FREE}{_Y4}(\s?[-./]\s?){_M}\1{_D}(?:T\d[\d:.]*|(?!\d))"),
    ("date", _THREE, rf"{_FREE}{_Y4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{6}}|\s(?:[01]\d|2[0-3])[0-5]\d(?!\d))?(?!\d){_SIZE}"),
    ("date", _THREE, rf"{_FREE}(?:0?\d{{1,2}}|{_D})(\s?[-./]\s?)(?:{_D}|0\d{{2}})\1{_Y4}(?!\d)"),
    ("date", _THREE, rf"{_FREE}(?:{_M}(\s?[-/]\s?){_D}\1|{_D}(\s?[-/]\s?){_M}\2)\d{{2}}(?!\d){_SIZE}(?!\s*(?:th\s*)?ribs?)"),
    ("date", _THREE, rf"{_FREE}(?:0[1-9]|[12]\d|3[01])\.(?:0[1-9]|1[0-2])\.\d{{2}}(?!\d){_SIZE}"),
    ("date", _MONTHLY, rf"{_FREE}{_MONTH}{_GAP}{_NTH}(?:\s?-\s?{_NTH})?{_GAP}{_Y}{_OVER}{_SIZE}"),
    ("date", _MONTHLY, rf"{_FREE}{_NTH}{_GAP}(?:of\s)?{_MONTH}{_GAP}{_Y}{_OVER}{_SIZE}"),
    ("date", _MONTHLY, rf"{_FREE}{_SURE}{_GAP}(?:of\s)?{_Y4}{_OVER}"),
    ("date", _MONTHLY, rf"{_FREE}{_SURE}\s?-?{_NTH}{_OVER}{_SIZE}"),
    ("date", _MONTHLY, rf"{_FREE}{_NTH}[\s-](?:of\s)?{_SURE}{_OVER}"),
    ("date", _MONTHLY, rf"\b(?:in|since|last|from|until|till|early|mid|late|during|through|before|after|by|this|next)[\s-]+(?P<x>(?-i:{'|'.join(m.capitalize() for m in _FULL.split('|'))})){_OVER}(?!\s+fractures?)"),
    ("date", _THREE, rf"{_FREE}{_Y4}[-/](?:0[1-9]|1[0-2])(?![\d-]){_SIZE}"),
    ("date", _SLASH, rf"(?<=\b)(?:\b{_CUE}\s+(?:the\s+)?)(?P<x>{_M}/{_D}|{_D}/{_M})(?!\d|[/.]\d){_SIZE}(?!\s*(?:of|the|ths?|ribs?|lobes?|lungs?|power|strength|murmur)\b)"),
    ("date", _SLASH, rf"{_FREE}{_M}/{_Y4}(?!\d){_SIZE}"),
    ("date", _HAN, rf"(?:(?:农历|阴历|旧历)?[正腊冬]|(?:农历|阴历|旧历){_NUM}{{1,2}}|{_NUM}{{1,2}}(?=月[初廿]))月(?:初{_NUM}|廿{_NUM}|{_NUM}{{1,3}})[日号]?(?!\s*(?:天|个|年|周|次))"),
    ("date", _HAN, rf"(?:[昨今前当次同][日天晚晨早]|周[一二三四五六日天]|星期[一二三四五六日天]|(?:入|出)院|术[前后]|外院)\s*[(]?\s*(?P<x>{_M}[-./月]{_D})(?!\d){_SIZE}(?=\s*(?:[)日号,。;片]|前|胸|X|CT|DR|床|检|摄|拍|复))"),
    ("date", _HAN, rf"(?<!\d){_Y4}\s?[./]\s?{_M}(?=\s*(?:片|胸|X|CT|DR|检查|旧|老|复查|月))"),
    ("date", _SLASH, r"[(](?P<x>(?:0[1-9]|1[0-2])/(?:0[1-9]|[12]\d|3[01]))[)]"),
    ("date", _ANY, r"\bon\s+the\s+(?P<x>(?:3[01]|[12]?\d)(?:st|nd|rd|th))(?=\s*(?:[.,;)]|$|at\b|and\s+the\s+\d))"),
    ("date", _HAN, rf"(?<![\d/.第约占近下上中])(?P<x>{_M}/{_D})(?=\s*(?:复查|复诊|入院|出院|手术|摄片|拍片|胸片|来院|来诊))"),
    ("date", _HAN, r"元月\s*(?:\d{1,2}|[一二三四五六七八九十]{1,3})\s*[日号]?"),
    ("date", _HAN, r"(?:较|与|对比|比较|于|至|自|从)\s*(?:本月)?(?P<x>\d{1,2}\s*[日号])(?=\s*(?:[晨早晚夜]?片|晨|胸|X|CT|DR|检查|复查|上午|下午|晚|旧|前片))"),
    ("date", _HAN, r"(?:本|上个?|当|下)月\s*(?P<x>\d{1,2}\s*[日号])"),
    ("date", _HAN, rf"(?:{_Y4}|(?<!\d)\d{{2}})\s*年\s*{_M}\s*月(?:份|\s*{_D}\s*[日号]?)?"),
    ("date", _HAN, rf"(?<!\d){_M}\s*月(?:份|初|底|末|[上中下]旬)"),
    ("date", _HAN, rf"(?<!\d){_M}\s*月\s*{_D}\s*[日号]"),
    ("date", _HAN, rf"(?:{_NUM}{{2,4}}年)?{_NUM}{{1,3}}月{_NUM}{{1,3}}[日号]|{_NUM}{{4}}年{_NUM}{{1,3}}月"),
    ("date", _HAN, rf"(?:与|较|对比|比较|对照|于|日期\s*:)\s*(?P<x>{_M}[-./月]{_D})(?=\s*(?:日|前|片|胸|X|CT|DR|检查|比|旧))"),
    # times
    ("time", _THREE, rf"{_FREE}(?:[01]?\d|2[0-4])\s?:\s?[0-5]\d(?:\s?:\s?[0-5]\d(?:\.\d+)?)?(?:\s?(?:[ap]\.?\s?m\b\.?|hours|hrs|h\b))?(?![\d:])(?!\s*(?:o'?clock|position|ratio))"),
    ("time", _ANY, rf"{_FREE}(?:1[0-2]|0?\d)(?:[.:]?[0-5]\d)?\s?(?:[ap]\.\s?m\.?|(?-i:[ap]m|[AP]M))(?![a-z])"),
    ("time", _THREE, rf"{_FREE}(?:[01]\d|2[0-3])[0-5]\d\s?(?:hours|hrs|h)\b"),
    ("time", _HAN, r"(?:上午|下午|中午|凌晨|早上|晚上?|傍晚)\s*\d{1,2}\s*[时点:](?:\s*\d{1,2}\s*分?|半)?"),
    ("time", _HAN, r"(?<!\d)\d{1,2}\s*[时点]\s*\d{1,2}\s*分(?:\s*\d{1,2}\s*秒)?"),
    ("time", _THREE, rf"(?<=\bat )(?:[01]\d|2[0-3])[0-5]\d(?!\d|\.\d){_SIZE}(?!\s*(?:units?|rpm|w\b))"),
    ("time", _HAN, r"(?:上午|下午|中午|凌晨|早上|晚上?|傍晚)\s*[一二三四五六七八九十两]{1,3}[时点](?:半|[一二三四五六七八九十]{1,3}分)?"),
    # telephone numbers
    ("phone", _THREE, r"(?<![\w+])\+\d[\d\s().-]{7,18}\d(?!\d)"),
    ("phone", _THREE, rf"{_FREE}(?:1[-.\s])?\(?\d{{3}}\)?[-.\s]\s?\d{{3}}[-.\s]\d{{4}}(?!\d)"),
    ("phone", _THREE, rf"{_FREE}\d{{3}}-\d{{4}}(?![\d-]){_SIZE}"),
    ("phone", _THREE, rf"{_FREE}1[3-9]\d[\s-]?\d{{4}}[\s-]?\d{{4}}(?!\d)"),
    ("phone", _THREE, rf"{_FREE}\(?0\d{{2,3}}\)?[\s-]?\d{{7,8}}(?!\d)"),
    ("phone", _THREE, rf"{_FREE}0\d{{1,4}}(?:[\s-]\d{{2,4}}){{2,4}}(?!\d)"),
    ("phone", _THREE, r"(?:\b(?:phone|telephone|tel|mobile|cell|fax|pager|beeper|ext(?:ension)?|bleep|call\s?back|vocera|spectralink|whats\s?app|contact)\b\.?|电话|手机|传真|分机|短号|内线|座机|热线|小灵通|联系方式|微信|QQ)"
     r"(?:\s*(?:no\.?|number|号码?))?\s*[:.#]?\s*(?P<x>\+?\(?\d[\d\s().-]{1,18}\d)"),
    ("phone", _THREE, r"(?:\b(?:x|p))(?P<x>\d{4,5})(?!\d)"),
    ("phone", _HAN, r"(?<=\d)转\s?(?P<x>\d{3,5})(?!\d|年|m|c|m)"),
    ("phone", _HAN, r"(?:微信|QQ|飞信)(?:号码?|ID)?\s*(?:为|是)?[:\s]*(?P<x>[a-z\d][\w-]{4,24})"),
    ("phone", _THREE, rf"{_FREE}\d{{5}}[\s-]\d{{5}}(?!\d|[.-]\d)"),
    # numbers of persons and things
    ("id", _THREE, r"\b(?:mrn|medical\s+record|acc(?:ession)?|patient\s*id|pt\s*id|id|exam(?:ination)?\s+(?:id|no|number)|case|study\s+(?:id|no|number)"
     r"|ssn|social\s+security|nhs|hospital|chart|account|acct|order|requisition|unit|visit|encounter|episode|hn|cr|ur|ref(?:erence)?"
     r"|passport|insurance|policy|licen[cs]e|serial|lot|barcode|specimen|film|x-?ray)"
     r"(?:\s*(?:numbers?|num|nos?\b\.?|nr|id))?\s*(?:is\s+)?[:#.=]*\s*(?P<x>(?=[a-z/-]{0,5}\d)[a-z0-9][a-z0-9/-]*\d[a-z0-9]*)" + _SIZE),
    ("id", _THREE, r"\b(?:job|dictation|voice\s+file|document|doc|report|confirmation|claim|member(?:ship)?|group|subscriber|badge|employee|staff|folder|jacket|packet|image|cd|disc"
     r"|dictaphone|model|s/?n|udi|imei|bracelet|wristband|tag|asset|device|implant|batch|sample|tissue|donor|trial|subject|protocol|receipt|invoice|billing|medicare|medicaid"
     r"|health\s?card|beneficiary|certificate|csn|fin|har|guarantor|pin|registration|tracking|ticket|room|file)"
     r"\s*(?:(?:numbers?|num|nos?\b\.?|nr|id|code)\s*[:#.=]*|[:#=]+)\s*(?P<x>(?=[a-z/-]{0,5}\d)[a-z0-9][a-z0-9/-]*\d[a-z0-9]*)" + _SIZE),
    ("id", _THREE, r"\b(?:mrn|id|insurance|policy|member|medicare|medicaid|nhs|account|acct|passport|hospital|record|subscriber|ssn|social\s+security)(?:\s*(?:numbers?|nos?\b\.?|id))?"
     r"\s*[:#.]*\s*(?P<x>(?-i:(?=[A-Z]{0,4}[ -]?\d)(?:[A-Z]{1,4}[ -]?)?\d{1,4}(?:[ -](?:[A-Z]?\d{2,6}[A-Z]?|[A-Z](?!\w))){1,5}))" + _SIZE),
    ("id", _THREE, r"\b(?:medicare|medicaid|mrn|ssn|policy|insurance|member\s+id|beneficiary|passport)\s*(?:numbers?|nos?\b\.?|id|#|:)*\s*(?P<x>(?=[a-z-]{0,6}\d)[a-z0-9]{2,}(?:-[a-z0-9]{2,})+)" + _SIZE),
    ("id", _THREE, r"\b(?:jacket|folder|packet|job|dictation|claim|badge|invoice|barcode|wristband|voucher)\s+(?P<x>\d{5,})(?!\d)"),
    ("id", _THREE, r"(?:#|\bno\.?|\bnumber|\bid)\s*:\s*(?P<x>(?=[a-z-]{0,5}\d)[a-z0-9][a-z0-9/-]{2,})" + _SIZE),
    ("id", _HAN, r"[\u4e00-\u9fff)](?:号码?|编码|编号)\s*:\s*(?P<x>[a-z]{0,6}[-_ ]?\d[\da-z_/-]*)"),
    ("id", _THREE, r"\blast\s+(?:4|four)(?:\s+(?:of\s+)?(?:the\s+)?(?:ssn|social(?:\s+security)?))?(?:\s+digits)?\s*(?:is\s+|are\s+)?[:#]?\s*(?P<x>\d{4})(?!\d)"),
    ("id", _THREE, r"\b(?:licen[cs]e\s+(?:plate|number|no\.?)|licen[cs]e|number\s+plate|vin|(?:vehicle|car)\s+reg(?:istration)?|reg(?:istration)?\s+(?:no\.?|plate|number)|plate\s+(?:number|no\.?)|plates)\s*[:#]?\s*(?P<x>(?=[A-Z -]{0,5}\d)[A-Z0-9]{2,17}(?:[ -][A-Z0-9]{2,5})?)(?![A-Za-z])"),
    ("id", _HAN, r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z][·\s]?(?=[A-Z]*\d)[A-Z0-9]{5,6}(?![A-Z0-9])"),
    ("id", _HAN, r"(?:(?:邮编|邮政编码|工号|学号|单号|批号|编号|编码|序列号|号码|账[号户]|帐[号户]|房号|车牌号?|牌照|注册证|执业证|UID|卡号)(?:号码?)?|(?:胸牌|条码|社保|银行卡|保单|合同|案|手环|腕带|档案|卷宗|快递|发票|收据|袋|片袋|光盘|医保|病例|病历|胶片|房间|资格证)(?:号码?|编号|ID))"
     r"\s*(?:为|是)?\s*[:.#]*\s*(?P<x>[a-z]{0,5}[-_ ]?\d[\da-z_/-]{2,}(?:[ -]\d{3,5})*)"),
    ("id", _HAN, r"(?<![第\d一二三四五六七八九十])(?P<x>[一二三四五六七八九十]{1,3})(?=[号]?床(?![旁边头前]))"),
    ("id", _HAN, r"(?:住院|门诊|检查|影像|病案|病历|登记|就诊|流水|申请单?|条形?码|X\s?[线光]|放射|CT|DR|CR|MRI?|B超|胸片|片|卡|诊疗卡|医保卡?|社保卡?|身份证|证件|护照|检验|标本"
 r"|急诊|门\(急\)诊|住院\(病案\)|住院\(门诊\)|病人|患者|体检|健康卡|报告|报告单|序|工|军官证|驾驶证|病理|序列|设备)(?:编)?(?:号码?|ID|编号)\s*(?:为|是)?[:.#]*\s*(?P<x>[a-z]{0,5}[-_]?\d[\da-z_/-]*)"),
    ("id", _HAN, r"(?:床号?|床位)\s*[:.#]\s*(?P<x>[+加]?[a-z]?-?\d{1,4})|(?<![\d.])(?P<y>[+加]?\d{1,4})\s*床(?![旁边头])"),
    ("id", _THREE, r"\bID\s*[:.#]*\s*(?P<x>[a-z]{0,5}[-_]?\d[\da-z_/-]*)"),
    ("id", _THREE, r"(?:#|\bno\.?|\bnumber|\bnr\.?|№)\s?(?P<x>\d{4,})"),
    ("id", _THREE, rf"{_FREE}\d{{17}}[\dx]{_OVER}"),
    ("id", _THREE, rf"{_FREE}\d+(?:\.\d+){{3,}}{_OVER}"),
    ("id", _THREE, r"(?<!\d)(?<!\d\.)\d{6,}(?!\d)"),
    # ages over 89
    ("age", _OLD, r"(?<![\d.])(?P<x>9\d|1[0-2]\d)[\s-]*(?:(?:years?|yrs?|y)[\s-]*(?:old|of[\s-]age)|y/?o(?:[mfMF])?\b|y(?=[mf]\b)|y\.\s?o\.|yr\b(?!s)|周?岁|歲)"),
    ("age", _OLD, r"(?<![\d.])(?P<x>9\d|10\d)\s?[mf](?=\s*(?:,|with\b|c/o|presenting|h/o|s/p))"),
    ("age", _OLD, r"(?:\baged?|年龄|\bage\s+of)\s*(?:is|为)?[:\s]\s*(?P<x>9\d|1[0-2]\d)(?!\d)(?!\s*(?:days?|weeks?|months?|天|月|周|d\b|w\b|m\b))"),
    ("age", _OLD, r"(?P<x>ninety(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?|one\s+hundred(?:\s+and\s+\w+)?)[\s-]*years?[\s-]*(?:old|of)"),
    ("age", _OLD, r"(?P<x>九十[一二三四五六七八九]?|一百[零一二三四五六七八九十]*)周?岁"),
]  # fmt: skip
"""Kind, what a text must hold for the rule to be tried at all (most cost nothing), and the rule."""
_COMPILED: dict[re.Pattern[str], list[tuple[str, re.Pattern[str]]]] = {}
for _kind, _gate, _rule in _RULES:
    _COMPILED.setdefault(_gate, []).append((_kind, re.compile(_rule, re.IGNORECASE)))

_GROUPED = re.compile(rf"(?<![{LATIN}.])\d+(?:[-‐–]\d+)+(?![{LATIN}]){_SIZE}", re.IGNORECASE)
_MIXED = re.compile(
    rf"(?<![{LATIN}_./-])(?=[A-Za-z-_]*\d)(?=[\d_-]*[A-Za-z])[0-9A-Za-z]+(?:[-_][0-9A-Za-z]+)*(?![{LATIN}])"
)
_NO_ID = re.compile(
    rf"\d+(?:x\d+)*{_UNIT}?|(?:\d+x)+\d+(?:{_UNIT})?|(?:[tlcs]\d{{1,2}}-?)+|.*(?:covid|ncov|sars|h\d+n\d+).*|\d{{4}}s"
    rf"|(?:\d+(?:st|nd|rd|th)-?)+|\d+-\d+{_UNIT}|(?:[a-z]+-)*(?:19|20)\d\d",
    re.IGNORECASE,
)
_SHORT_DATE = re.compile(r"\d{1,2}\s?[-/]\s?\d{1,2}\s?[-/]\s?\d{2}")
_RIBS = re.compile(r"(?:ribs?|levels?|costal|vertebra\w*|肋骨?|第)\W{0,3}(?:\w+\W{1,2}){0,2}$", re.IGNORECASE)
_FEWEST = 4


def identifiers(text: str) -> Iterator[Found]:
    """Everything in a text that identifies by its form.

    Args:
        text: In which full-width letters and digits have been made plain.

    Source:
        Ours, after the identifiers of 45 CFR 164.514(b)(2): elements of dates but the year,
        ages over 89, numbers of telephones, records, accounts and devices, addresses of the
        network.
    """
    for gate, rules in _COMPILED.items():
        for kind, pattern in rules if gate.search(text) else ():
            for found in pattern.finditer(text):
                start, end = _span(found)
                if not (_SHORT_DATE.fullmatch(found[0]) and _RIBS.search(text[max(0, start - 30) : start])):
                    yield Found(start, end, kind)
    if not _THREE.search(text):
        return
    yield from _numbers(text, _GROUPED, lambda word: _digits(word) >= 7 and not _is_years(word))
    yield from _numbers(text, _MIXED, _is_mixed_id)


def is_hole(text: str) -> bool:
    """Whether a text is what de-identification left: "___", "XXXX", "[**...**]"."""
    return not re.sub(r"[\W_]|[xX]{2,}", "", text)


def _span(found: re.Match[str]) -> tuple[int, int]:
    """What is blanked: the named part of a pattern, else all of it, without blanks around."""
    for name in ("x", "y"):
        if found.groupdict().get(name):
            return found.span(name)
    return found.span()


def _numbers(text: str, pattern: re.Pattern[str], is_id: Callable[[str], bool]) -> Iterator[Found]:
    for found in pattern.finditer(text):
        if is_id(found[0]):
            yield Found(*found.span(), "id")


def _digits(word: str) -> int:
    return sum(c.isdigit() for c in word)


def _is_years(word: str) -> bool:
    """A range of years, or of numbers that stand for nothing longer: "2019-2020"."""
    return re.fullmatch(r"(?:19|20)\d\d[-‐–](?:19|20)\d\d", word) is not None


def _is_mixed_id(word: str) -> bool:
    """Letters and digits, six or more with four digits at least, that are no size or vertebra."""
    plain = word.replace("-", "").replace("_", "")
    if len(plain) < 6 or _digits(plain) < _FEWEST or _NO_ID.fullmatch(word):
        return False
    longest = max(map(len, re.findall(r"\d+", word)))
    return longest >= _FEWEST or _digits(plain) >= 6
