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
    r"|(?:患者|病人|被检者|受检者)?姓\s*名|(?:医师|医生)?(?:签名|签字|签章)|技师|医师|医生|联系人|家属|监护人|护士|技术员|操作员|接听人|接收人|通知人|报告人|委托人|陪护人?|护工|责任护士|主诊|带教老师|报告员|审核员|阅片人|核对人|校对|联络人|投保人|被保险人|持卡人|登记人|法定代理人|接报人|取片人|取报告人|送检人|申请人|经办人|负责人|责任人|填表人|制表人|汇报人"
)
_LABEL_ZH = re.compile(
    rf"(?:{_ROLE})\s*(?P<sep>[:]\s*(?:[{CJK}]{{1,5}}[科室部](?=[{CJK}]{{2,3}}(?:[^{CJK}]|$)))?|[ \u3000]+)(?=[{CJK}A-Za-z])"
)
_NEXT_ZH = f"(?={_ROLE}|报告|审核|检查|诊断|日期|时间|性别|年龄|科室|电话|联系|男|女|签|$|[^{CJK}·])"
_NAME_ZH = re.compile(
    rf"(?:{_SUR}[{CJK}·]{{1,3}}?|[{CJK}]{{2,4}}?|[{CJK}]{{1,6}}·[{CJK}·]{{1,12}}?){_NEXT_ZH}"
)
_CUT_ZH = re.compile(rf"{_SUR}[{CJK}]{{1,2}}")
_TITLED_ZH = re.compile(
    rf"(?P<x>{_SUR}(?:[{CJK}]{{1,2}})??|{_SUR}某{{1,2}})\s?(?=(?:副?主任|主治|住院|主管)?(?:医生|医师|主任|教授|护士|先生|女士|小姐|大夫|技师|老师|护师|院长|同志|组长|科长|警官|大爷|大妈|奶奶|阿姨|大叔|师傅))"
)
_NOT_ZH = re.compile(
    "高年|高级|申请|经治|管床|主管|常规|任何|高血[压脂糖]|高龄|高[位危度原]|成年|左[侧肺上下心膈]|单[侧纯发]|陈旧|全[身部肺]|张力|明[显确]|时[有常]|平[片卧]|边[界缘]|曲[线度]|石棉|毛[玻刺]|马蹄|水[肿平]|金属|段性|白[细线]|方[法式]|安[全静]|向[心下外]|相[应关仿]|应[考结]|何[种时处]|和[右左]|连[续接]|易[误]|余[肺未无所]|经[常过]|包[裹括块]|温[度水]|常见|计[划算]|强[化度]|房[间颤性]|高[密低]|甘[油露]|康复|党员|路[人]|司机|万[分]|古[典]|游[离走]|花[斑环]|于[外]|同[前上]|方便|时间|明确|全科|单位|安排|报告|审核|诊断|放射|值班|上级|临床|检查|检验|住院|专科|主治|"
    "应请|应向|查房|会诊|咨询|专业|向上|^[和成连应向查解游包路车明商管时全师司米符单边关与请科级医]$|通知|告知|联系|由|我院|本院"
)
_BEFORE_ZH = re.compile("[主责担]$")
_PATIENT_ZH = re.compile(
    rf"(?:患者|病人|患儿|受检者|病员|伤者|伤员|产妇|孕妇|体检者|受检人|就诊者)[,:\s]?(?P<x>{_SUR}[{CJK}]{{1,2}})(?=[,、\s]*(?:男|女|现年|年龄|性别|\d{{1,3}}岁))|(?:患者|病人|患儿|病员|伤者|伤员|产妇|孕妇|体检者|受检人|就诊者)(?P<y>(?![高应时常全成明左曲强安平])(?:{_SUR}[{CJK}]{{2}}))(?=因|于\d|系)"
    rf"|(?:患者|病人|患儿|病员|伤者|伤员|产妇|孕妇|体检者|受检人|就诊者)[,:\s]?(?P<z>(?![高应时常全成明左曲强安平水]){_SUR}[{CJK}]{{1,2}}?)(?=(?:之|的)?(?:[子女妻夫父母]|家属|丈夫|妻子|儿子|女儿)(?:[{CJK}]{{2,3}}陪|陪|代|诉)|曾?[于在](?:我院|本院|\d)|入院|出院|来院|来诊|转入|复查|复诊|主诉|自诉|诉|昨日|今日|病历|住院号|门诊号|ID|\(|,\s*(?:住院号|门诊号|ID|\d))"
    rf"|(?:患者|病人|患儿|受检者|病员|伤者|伤员|产妇|孕妇|体检者|受检人|就诊者)[,:\s]?(?P<u>[{CJK}]{{2,7}}·[{CJK}]{{2,8}}?)(?=[,。、\s男女现因于系(]|$)"
    rf"|(?:患者|病人|患儿|家属|其)(?:姓)(?P<v>{_SUR})(?=[,，。;、\s]|$)|(?P<w>{_SUR})姓(?=患者|病人|女|男|医|护|家属)"
)
_STOPS_ZH = r"签字|签名|陪同|陪护|陪伴|代诉|代述|诉|述|告知|知情|要求|表示|电话|联系|送|代|来|拒绝|同意|办理|反映|补充|照顾|及|和|与|沟通|谈话|交代|交待|说明|确认|在场|提供|手机|[,。;、:()\s]|$"
_KIN_ZH = re.compile(
    rf"(?:家属|家长|母亲|父亲|妻子|丈夫|爱人|配偶|儿子|女儿|之[子女妻夫父母弟妹兄姐]|其[子女妻夫父母弟妹兄姐]|弟弟|妹妹|哥哥|姐姐|奶奶|爷爷|外婆|外公|姥姥|姥爷|祖父|祖母|儿媳|女婿|孙子|孙女|监护人|联系人|陪护人?|护工|保姆|同事|邻居|朋友|委托人)"
    rf"(?:为|是|叫|名叫)?\s?[(:]?\s?(?P<x>{_SUR}(?:某{{1,2}}|[{CJK}]{{1,2}}?))(?={_STOPS_ZH})"
)
_VERBS_ZH = "审阅|审核|复核|审签|会诊|告知|通知|阅片|初写|修改|签发|签字|签名|报告|书写|建议|指示|查看|查房|认为|确认|接听|接电话|接收|核对|复阅|电话|知晓|已知|回复|转告|指导|讨论|沟通|联系|操作|摄片|投照|拍摄|执行|协助|完成|主刀|行|出具|要求|提示|考虑|嘱|开具|开单|申请|诊治|接诊|首诊|处理|给予|实施|主持|参与|值班|到场|汇报|说明|描述|补充|修订|更正|读片|陪同|送"
_AFTER_ROLE_ZH = re.compile(
    rf"(?:主任医师|主治医师|住院医师|进修医师|实习医师|规培医师|医师|医生|护士长?|护师|教授|主任|技师|技士|老师|大夫|院长|研究生|规培生|进修生|实习生|专家|术者|由|经|请)"
    rf"(?P<x>{_SUR}[{CJK}]{{1,2}}?)(?=(?:已|未|再次|共同|负责|电话|同意|后|及|、|和)?(?:{_VERBS_ZH}))"
)
_OF_ZH = re.compile(rf"(?P<x>{_SUR}[{CJK}]{{1,2}})(?=之[父母子女妻夫兄弟姐妹])")
_BARE_ROLE_ZH = re.compile(
    rf"(?:记录|校对|核对|阅片|录入|打印|摄片|摄影|投照|带教|主管|管床|主诊|责护|审阅|报告|诊断|接听|接收|操作|制表|填报|初写|抄送|审核|复核|书写)\s*:\s*(?P<x>{_SUR}[{CJK}]{{1,2}})(?=\s*(?:[,。;、/(\s]|\d|$))"
)
_SIGNED_ZH = re.compile(
    rf"(?m)(?:^[ \t]*|(?<=\s\s))[(]?(?P<x>{_SUR}[{CJK}]{{1,2}}(?:\s?[/、]\s?{_SUR}[{CJK}]{{1,2}})?)[)]?(?:___|[\d年月日时分:./\s-])*$"
    rf"|(?<=[。.])\s?[(](?P<y>{_SUR}[{CJK}]{{1,2}}(?:\s?[/、]\s?{_SUR}[{CJK}]{{1,2}})?)[)](?:___|[\d年月日时分:./\s-])*$"
)
_NO_SIGN_ZH = re.compile(
    "[肺心肋膈胸骨影片线症炎灶变常段叶门管液气瘤癌疡洞斑节结侧位部区缘角形状型级期见无有未不正性化度大小增多少高低清晰晚早查检告断]"
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
    yield from _labelled(text)
    for found in _TITLED_ZH.finditer(text):
        start, end = found.span("x")
        if not _NOT_ZH.search(found["x"]) and not _BEFORE_ZH.search(text[:start][-1:]):
            yield Found(start, end, "name")
    for found in _SIGNED_ZH.finditer(text):
        group = found.lastgroup or ""
        if not _NOT_ZH.search(found[group]) and not _NO_SIGN_ZH.search(found[group]):
            yield Found(*found.span(group), "name")
    for pattern in (_PATIENT_ZH, _SAID_ZH, _ROLE_ZH, _KIN_ZH, _OF_ZH, _AFTER_ROLE_ZH, _BARE_ROLE_ZH):
        for found in pattern.finditer(text):
            if not _NOT_ZH.search(found[found.lastgroup or 0]):
                yield Found(*found.span(found.lastgroup or 0), "name")


def _labelled(text: str) -> Iterator[Found]:
    """Names behind a role: 报告医师：张三/李四."""
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
