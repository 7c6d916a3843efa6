"""Names of people and places that stand beside a word which betrays them.

"Dr. X", "Dictated by: X", "X, MD", "discussed with X"; 报告医师：X, X医生, 患者X. A name without such
a word beside it is found only if the header holds it (`data.scrub`).
"""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found

_STOP = (
    "a about above abnormal acute addendum admission advised after afternoon age all also am an and "
    "angiogram angiography any ap apex apical arch are artery as at attending aware be because been "
    "before below bilateral body bone both brain breast bronchus but by call called can cardiac "
    "cardiology cardiomegaly care carina catheter catheters central change changes chest clear clinic "
    "clinical clinician comment comparison compared concerning conclusion conclusions congestion "
    "consolidation consult consultant correlation could critical ct cta cxr date department did discussed "
    "doctor doctors does dose dr ecg ed edema effusion electronically emergency er evaluation exam "
    "examination fellow film finding findings floor follow followup for from front frontal had has have "
    "he heart her him his history hospital house icu if image images imaging impression in indication "
    "infiltrate inpatient interval into is it its large lateral left level levels line lines lobe lower "
    "lung lungs md mass medical medicine mediastinum midline mild moderate mr mra mri mrs ms neck new no "
    "node nodule none normal not note notified np nurse nursing observed of office on oncology opacity or "
    "ordering other our outpatient outside pa page paged pain patient per pericardium phone physician "
    "pleural pneumonia pneumothorax portable possible practitioner pressure primary prior prof professor "
    "provider provisional pulmonary radiograph radiologic radiologist radiologists radiology re read "
    "receipt recommend recommendation recommendations recommended referring report reported reports "
    "requesting resident result results rib ribs right rn said scan scans screening see seen she showed "
    "shows signed significant similar since sinus small spine stable staff stated status still study "
    "subsequent suggest suggested supine surgery surgical system team technique technologist telephone "
    "than that the their there these they this thoracic thorax time to today trachea transcribed tube "
    "tubes two ultrasound unchanged unit unknown unremarkable up upper urgent user verbal verbally via "
    "view views wall ward was we were wet when where which who will with without x xray xrays yesterday "
    "you agree agreed acknowledged confirmed informed requested reviewed resected performed placed spoke "
    "told contacted verified dictated approved interpreted final preliminary three four one first second "
    "third an ray rays digital radiography upright film films erect sitting technician anesthesia trauma "
    "neurology pediatrics gynecology orthopedics pulmonology self anonymous "
)
NO_NAME = frozenset(_STOP.split())
"""Words that are capitalised in reports and are no names; some are, and are then missed."""
_ALSO_NAMES = frozenset(("an", "so", "he", "no", "long", "new", "low", "see", "will", "you", "we"))
"""Words that are names only where a clause ends behind them: "Dr. Nguyen Van An, radiologist"."""
_ENDS = ("", ",", ";", ")")
_PARTICLE_WORDS = (
    "de van der den von zu al el bin ibn abu da di do dos das la le du del st ter ten af av y e ben"
)
_PARTICLES = frozenset(_PARTICLE_WORDS.split())
_TOKEN = re.compile(r"[^\W\d_](?:[^\W\d_]|['’‘`.-](?=[^\W\d_]))*\.?|(?<=\s)[dDlLO]['’]")
_CREDENTIAL = re.compile(
    r"\b(?:M\.?D\.?|MBBS|M\.B\.B\.S\.?|MBChB|MB\s?BS|FRCR|MRCP|D\.O\.|Ph\.?D\.?|FACR|FRANZCR|RT\(R\)|R\.T\.|PA-C|ARNP|RN|R\.N\.|NP)(?![\w.])"
)
_TITLE = re.compile(
    r"(?<![\w.-])(?:(?i:drs?|mrs?|ms|prof)\.|Drs?|Mrs?|Ms|Miss|Mx|Prof|Professor|Doctor|DRS?|MRS|PROF|PROFESSOR|DOCTOR|dr|Nurse|Sister|RN|NP)(?=[\s.A-Z])\s*"
)
_BY = re.compile(
    r"\b(?i:(?:signed|dictated|transcribed|interpreted|read|reported|reviewed|authenticated|verified|approved|finali[sz]ed|attested|"
    r"authori[sz]ed|typed|entered|performed|requested|ordered|referred|created|validated|released|checked|supervised|electronically)"
    r"(?:\s+(?:off|electronically|and\s+\w+|&\s*\w+|/\s*\w+))?\s+by)\s*:?\s*"
)
_LABEL = re.compile(
    r"\b(?i:(?:attending|referring|ordering|reading|reporting|interpreting|requesting|consulting|supervising|staff|primary\s+care|performing"
    r"|dictating|signing)(?:\s+(?:physician|radiologist|doctor|provider|clinician|consultant|practitioner|md|resident))?|radiologists?|resident|fellow|"
    r"technologist|tech|radiographer|consultant|transcriptionist|(?:patient(?:'?s)?\s+)?(?:full\s+|last\s+|first\s+|sur|family\s+|given\s+)?name"
    r"|patient|pt|physician|referrer|cc|attn|attention|next\s+of\s+kin|mother|father|spouse|guardian|dictated|signed|signature|author|copy\s+to)\s*:\s*"
)
_TALK = re.compile(
    r"\b(?i:discussed|communicated|conveyed|relayed|reported|called|telephoned|paged|notified|informed|spoke|told|faxed|phoned|texted|"
    r"reviewed|conferred|contacted)\b"
)
_TO = re.compile(
    r"\b(?:with|to|by|notified|informed|paged|called|telephoned|told|contacted|phoned)\s+(?=[^\W\d_])"
)
_PATIENT = re.compile(r"(?i:\b(?:patient|pt),?)\s+(?=[A-Z][^\W\d_]+\s+[A-Z])")
_KIN = re.compile(
    r"\b(?:daughter|son|wife|husband|mother|father|brother|niece|nephew|partner)\s+(?=[A-Z][a-z])"
)
_TALK_WITHIN, _CLAUSE = 90, re.compile(r"[.;。]\s")
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

_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾萧田董袁潘蔡蒋余杜叶程苏魏吕丁沈任姚卢傅钟姜崔谭廖范汪陆金石戴贾韦夏邱"
    "侯邹熊孟秦白江阎薛尹段雷黎史龙陶贺顾毛郝龚邵万钱严覃武戚莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包"
    "宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷曲盛冉翁蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党"
    "宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝"
)
_DOUBLE = "欧阳|上官|司马|诸葛|司徒|东方|皇甫|尉迟|公孙|慕容|令狐|宇文|长孙|端木|夏侯|轩辕"
_SUR = f"(?:{_DOUBLE}|[{''.join(sorted(set(_SURNAMES)))}])"
_ROLE = (
    "(?:报告|审核|诊断|检查|主治|主管|经治|住院|管床|书写|签名|签发|会诊|申请|送检|操作|摄片|摄影|投照|阅片|复核|值班|审签|记录|初诊|终审|初写|打印|登记|录入)"
    "(?:医师|医生|者|人|技师|大夫|护士|技术员|员)(?:签名|签字|签章)?"
    r"|(?:患者|病人|被检者|受检者)?姓名|(?:医师|医生)?(?:签名|签字|签章)|技师|医师|医生|联系人|家属|监护人|护士|技术员|操作员|接听人|接收人|通知人|报告人"
)
_LABEL_ZH = re.compile(rf"(?:{_ROLE})\s*(?P<sep>[:]\s*|[ \u3000]+)(?=[{CJK}A-Za-z])")
_NEXT_ZH = f"(?={_ROLE}|报告|审核|检查|诊断|日期|时间|性别|年龄|科室|电话|联系|男|女|签|$|[^{CJK}·])"
_NAME_ZH = re.compile(
    rf"(?:{_SUR}[{CJK}·]{{1,3}}?|[{CJK}]{{2,4}}?|[{CJK}]{{1,6}}·[{CJK}·]{{1,12}}?){_NEXT_ZH}"
)
_CUT_ZH = re.compile(rf"{_SUR}[{CJK}]{{1,2}}")
_TITLED_ZH = re.compile(
    rf"(?P<x>{_SUR}(?:[{CJK}]{{1,2}})??|{_SUR}某{{1,2}})\s?(?=(?:副?主任|主治|住院|主管)?(?:医生|医师|主任|教授|护士|先生|女士|小姐|大夫|技师|老师|护师|院长|同志))"
)
_NOT_ZH = re.compile(
    "高年|高级|申请|经治|管床|主管|常规|任何|方便|时间|明确|全科|单位|安排|报告|审核|诊断|放射|值班|上级|临床|检查|检验|住院|专科|主治|"
    "应请|应向|查房|会诊|咨询|专业|向上|^[和成连应向查解游包路车明商管时全师司米符单边关与请科级医]$|通知|告知|联系|由|我院|本院"
)
_BEFORE_ZH = re.compile("[主责担]$")
_PATIENT_ZH = re.compile(
    rf"(?:患者|病人|患儿|受检者)[,:\s]?(?P<x>{_SUR}[{CJK}]{{1,2}})(?=[,、\s]*(?:男|女|现年|\d{{1,3}}岁))|(?:患者|病人|患儿)(?P<y>(?![高应时常全成明左曲强安平])(?:{_SUR}[{CJK}]{{2}}))(?=因|于\d|系)"
)
_SAID_ZH = re.compile(
    rf"(?:电话)?(?:通知|告知|联系|报告|汇报)(?:了|给)?(?P<x>{_SUR}(?!医|主任|护士|教授|大夫|先生|女士|老师|技师)[{CJK}]{{1,2}})(?=[,。;\s(]|$)"
)

_ROLE_ZH = re.compile(
    rf"(?:医生|医师|护士|主任|(?:审核|复核|书写|签发|审签|初审|终审)\s*:\s*)(?P<x>{_SUR}[{CJK}]{{1,2}})(?=[,、。;\s(]|$)"
)


def names(text: str) -> Iterator[Found]:
    """Names of people and places beside a word that betrays them.

    Args:
        text: In which full-width letters, digits and signs have been made plain.

    Source:
        Ours.
    """
    yield from _latin(text)
    han = re.search(f"[{CJK}]", text) is not None
    if han:
        yield from _chinese(text)
    for pattern in (*_PLACES, *(_PLACES_ZH if han else ())):
        for found in pattern.finditer(text):
            if not is_hole(found["x"]):
                start, end = found.span("x")
                yield Found(start, start + len(text[start:end].rstrip(" ,\t.")), "place")


def is_hole(text: str) -> bool:
    """Whether a text is what de-identification left: "___", "XXXX", "[**...**]"."""
    return not re.sub(r"[\W_]|[xX]{2,}", "", text)


def _latin(text: str) -> Iterator[Found]:
    for found in _TITLE.finditer(text):
        end = found.end()
        while span := _person(text, end, lower=found[0][0] in "dmp", most=4):
            yield Found(*span, "name")
            more = re.compile(r"\s*(?:,|/|&|and)\s*(?=[A-Z])").match(text, span[1])
            if more is None or found[0].strip(" .").casefold() not in ("drs", "doctors"):
                break
            end = more.end()
    for pattern in (_BY, _LABEL, _PATIENT, _KIN) if ":" in text else (_BY, _PATIENT, _KIN):
        for found in pattern.finditer(text):
            if span := _person(text, found.end(), most=4, comma=True):
                yield Found(*span, "name")
    for talk in _TALK.finditer(text):
        until = talk.start() + _TALK_WITHIN
        if stop := _CLAUSE.search(text, talk.end(), until):
            until = stop.start()
        for found in _TO.finditer(text, talk.start(), until):
            if (span := _person(text, found.end(), most=4)) and not text[span[0] : span[1]].isupper():
                yield Found(*span, "name")
    for found in _CREDENTIAL.finditer(text):
        if span := _before(text, found.start()):
            yield Found(*span, "name")


def _person(
    text: str, at: int, *, most: int, lower: bool = False, comma: bool = False
) -> tuple[int, int] | None:
    """The capitalised words from ``at`` on that can be a name; one word if lower case will do."""
    start, end, count, whole, at_word = -1, -1, 0, 0, at
    while count < most and (found := _TOKEN.match(text, at_word)):
        word = found[0]
        if re.search(f"[{CJK}]", word) or is_hole(word) or _is_stop(word, text[found.end() :][:1]):
            break
        if word[0].isupper() or (lower and count == 0 and len(word) > 2):
            count, whole = count + 1, whole + (len(word.rstrip(".")) > 1)
            end = found.start() + len(re.sub(r"['’]s$|(?<=\w\w\w)\.$", "", word))
            start = found.start() if start < 0 else start
        elif word.casefold() in _PARTICLES:
            start = found.start() if start < 0 else start
        else:
            break
        if len(word) > 3 and word.endswith("."):
            break
        gap = re.compile(r"[ \t]*,[ \t]*|[ \t]+" if comma and count == 1 else r"[ \t]+").match(
            text, found.end()
        )
        if gap is None:
            break
        at_word = gap.end()
    return (start, end) if whole else None


def _is_stop(word: str, after: str = "") -> bool:
    plain = word.casefold().rstrip(".")
    if plain in _ALSO_NAMES and word.istitle() and after[:1] in _ENDS:
        return False
    return plain in NO_NAME and not (len(plain) == 1 and word[0].isupper())


def _before(text: str, at: int) -> tuple[int, int] | None:
    """The up to four capitalised words that end before a degree: "Jane Q. Doe, MD"."""
    lead = re.compile(r"(?:(?:[^\W\d_][\w'’.-]*)[ \t]+){0,3}[^\W\d_][\w'’.-]*[ \t]*,?[ \t]*$")
    window = text[max(0, at - 80) : at]
    found = lead.search(window)
    if found is None:
        return None
    words = list(re.finditer(r"[^\W\d_][\w'’.-]*", found[0]))
    first = len(words)
    for i in range(len(words) - 1, -1, -1):
        word = words[i][0]
        capital = word[0].isupper() and not re.search(f"[{CJK}]", word)
        ended = i < len(words) - 1 and len(word) > 3 and word.endswith(".")
        if is_hole(word) or _is_stop(word) or ended or not (capital or word in _PARTICLES):
            break
        first = i
    if first == len(words) or all(len(w[0].rstrip(".")) < 2 for w in words[first:]):
        return None
    base = at - len(found[0])
    return base + words[first].start(), base + words[-1].end()


def _chinese(text: str) -> Iterator[Found]:
    for label in _LABEL_ZH.finditer(text):
        at = label.end()
        while True:
            if span := _person(text, at, most=4):
                yield Found(*span, "name")
                at = span[1]
            elif (found := _NAME_ZH.match(text, at)) or (found := _CUT_ZH.match(text, at)):
                if ":" not in label["sep"] and not re.match(_SUR, found[0]):
                    break
                yield Found(*found.span(), "name")
                at = found.end()
            else:
                break
            more = re.compile(r"\s*[/、,&;]\s*").match(text, at)
            if more is None:
                break
            at = more.end()
    for found in _TITLED_ZH.finditer(text):
        start, end = found.span("x")
        if not _NOT_ZH.search(found["x"]) and not _BEFORE_ZH.search(text[:start][-1:]):
            yield Found(start, end, "name")
    for pattern in (_PATIENT_ZH, _SAID_ZH, _ROLE_ZH):
        for found in pattern.finditer(text):
            if not _NOT_ZH.search(found[found.lastgroup or 0]):
                yield Found(*found.span(found.lastgroup or 0), "name")
