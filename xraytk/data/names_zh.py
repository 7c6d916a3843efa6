"""Chinese names that stand beside a word which betrays them: 报告医师：X, X医生, 患者X, 家属X签字."""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found
from xraytk.data.names import person

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

def names_zh(text: str) -> Iterator[Found]:
    """Names in Chinese reports beside a word that betrays them.

    Args:
        text: In which full-width letters, digits and signs have been made plain.

    Source:
        Ours.
    """
    if not re.search(f"[{CJK}]", text):
        return
    for label in _LABEL_ZH.finditer(text):
        at = label.end()
        while True:
            if span := person(text, at, most=4):
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
