"""The Chinese rules (simplified characters), as Chinese radiologists write.

Decisions where usage differs: 考虑, 可能, 疑, 待排, 不除外 are uncertain, 符合 and 提示 present;
排除 and 除外 that open a sentence say absent, behind a complaint (外伤后，除外骨折) or with 需, 建议, ？ they
ask and say nothing; 请结合临床 changes nothing; 较前吸收 and 减少 are still present, 基本吸收 and 基本排除
uncertain, 已吸收 absent; 术后 takes a lesion away and leaves a fracture and a device; 肋膈角锐利 is a
sign of no effusion, 变钝 or 模糊 an uncertain sign of one; 心影饱满 is uncertain, 正常高限 normal.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xraytk.tasks.findings.chinese_terms import NONE, TERMS
from xraytk.tasks.findings.labels import ECM, FLUID, FRACTURE, HEART, OPACITY, PLEURA
from xraytk.tasks.findings.rules import Cue, Mark, Organ, Quality, Rule, Rules, Says, Term, Token

_END = r"(?=\s*(?:[，。；;,、？?）)]|$))"

ORGANS: Sequence[Rule] = [
    Organ(
        (Says(HEART),),
        "heart",
        "心(?:脏|影|界|胸比(?:例|率|值)?)(?:形态|大小|轮廓|外形|横径|的)*|心(?=[、肺膈纵及和])",
    ),
    Organ((Says(ECM),), "mediastinum", "(?:上)?纵[隔膈](?:影|轮廓)?|心胸廓[形线]"),
    Organ((Says(FLUID, -1, sign=True),), "angles", "(?:肋膈|肋隔|(?<!心)膈)(?:角|窦|隐窝)|(?:后|前)肋膈角"),
    Organ((Says(PLEURA, 1, sign=True),), "pleura", "胸膜(?!腔|炎)"),
    Organ(
        (Says(OPACITY, sign=True),),
        "lungs",
        "(?:双|两|左|右|余|其余|双侧|两侧)肺(?:[上中下]?(?:野|叶|部|内|肺野|实质))*(?:及肺野)?|"
        "肺(?:野|部|内|实质)+|肺(?=[、膈及])|(?<=心)肺",
    ),
    Organ(
        (Says(FRACTURE, sign=True),),
        "bones",
        "(?:胸廓|所见|诸|骨性|胸部|扫及|各|肋|双侧)*(?:肋骨|骨质|骨骼|锁骨|骨性胸廓|诸骨|胸椎|"
        "椎体|胸骨)(?:结构|骨质|诸骨|及软组织)*",
    ),
]

_ANY = frozenset({"heart", "mediastinum", "lungs", "angles", "pleura", "bones"})
_SIZED = frozenset({"heart", "mediastinum"})
FIRST: Sequence[Rule] = [
    Quality(
        0,
        _SIZED,
        "(?:不|未见?|无|没有|未见明显|无明显)(?:明显|显著)?(?:的)?(?:增大|扩大|肥大|增宽)(?:影|"
        "改变|征象)?(?!的)|不(?:大|宽)(?![于量])",
    ),
    Quality(0, frozenset({"angles"}), "(?:不|未见?|无)(?:明显)?(?:变钝|模糊|圆钝|消失)"),
    Cue(
        None,
        "ahead",
        "(?:未见|无)(?:明显|显著)?(?:变化|改变(?!，?)|增多|增大|吸收|减少|进展|好转|扩大|移位|"
        "缩小)|未(?:完全|全部)(?:吸收|消失|复张)|请结合临床|变化不(?:大|著|明显)|显示不明显|"
        "(?:部分|较前|明显|大部|略有?)+(?:吸收|减少|好转|消散)",
    ),
    Cue("unsaid", "ahead", "(?:不能|无法|难以|未能)(?:将|把)"),
    # uncertain
    Cue(
        "uncertain",
        "auto",
        "(?:不|未|无法|难以|不能|尚不能|未能|不能够|难)(?:能)?被?(?:完全|绝对)?(?:除外|排除)|"
        "基本(?:上)?(?:可以?)?(?:已)?(?:除外|排除)",
    ),
]
"""Qualities and cues that go before the terms: some hold a word that is one."""

QUALITIES: Sequence[Rule] = [
    Quality(-1, _SIZED, "(?:稍|略)?饱满|偏大|丰满|临界|边缘性(?:增大|肿大)?|可疑增大"),
    Quality(
        1,
        _ANY,
        "(?:异常|病变|病灶|损伤|疾病|问题)(?:表现|征象|改变|x线征象)?(?!密度|影|高|阴|的?(?:实变|渗出))",
        only_absent=True,
    ),
    Quality(
        0,
        _ANY,
        "(?:未见|无)(?:明显)?(?:特殊|改变"
        + _END
        + ")|无殊|(?:大致|基本|均|都|很|是)?(?:正常|在正常范围)(?:范围)?(?:内)?(?:的)?(?:高限|"
        "上限)?",
    ),
    Quality(
        0,
        frozenset({"lungs", "angles", "pleura"}),
        "(?:尚|均|欠佳但|都|是|很|基本|看起来(?:很)?)?清(?:(?:晰|楚|亮)(?!度)|" + _END + ")",
    ),
    Quality(0, frozenset({"angles"}), "锐利|锐|存在|可见|显示清|(?:尚|较)锐"),
    Quality(0, frozenset({"bones"}), "完整|连续|(?:显示)?良好"),
    Quality(0, frozenset({"pleura"}), "光滑|光整"),
    Quality(
        1,
        _SIZED,
        "(?:轻度|稍|略|明显|显著|中度|重度|向[左右两][侧]?|呈|普遍|轻微|适度)*(?:增大|扩大|肥大|"
        "肿大|膨大|增宽|普大型|普大|烧瓶状?)(?:改变)?|(?:稍|略|较|明显)大|大" + _END,
    ),
    Quality(
        1,
        frozenset({"angles"}),
        "(?:稍|略|明显|轻度)*(?:变钝|圆钝|模糊|(?<=[角窦])消失|变浅|变平|欠锐利|欠清晰|欠锐|欠清|"
        "闭塞|钝|不清|不锐利|显示不清)",
    ),
    Quality(1, frozenset({"pleura"}), "(?:稍|略|局限性|轻度|明显|广泛)*(?:增厚|肥厚|粘连|钙化)"),
]

CUES: Sequence[Rule] = [
    Cue(
        "uncertain",
        "back",
        "待(?:排除?|除外|查|定|证实|鉴别)|鉴别|(?:的)?可能(?:性)?(?:较|很|极)?(?:大|高)|可能性?(?:小|"
        "较小)|(?:的)?可能性?" + _END + "|可疑" + _END + "|(?:不太|不大)可能" + _END,
    ),
    Cue("uncertain", "before", "[?？]"),
    Cue(
        "uncertain",
        "ahead",
        "可能性?(?:为|是|存在|有|系|由|代表|伴|表明|表示)?|考虑(?:为|有|是)?|疑似|疑为|疑有|"
        "怀疑(?:有|为|是)?|可疑|似(?:有|见|可见|呈|为)?|疑|倾向于?|或为|或系|也许|不太可能|大概|"
        "拟诊?",
    ),
    Cue("uncertain", "back", "(?:较前|大致|已)?基本(?:吸收|消失|消散)"),
    # nothing said
    Cue(
        "treated",
        "before",
        "(?:根治|切除|治疗|放疗|化疗|抗炎|保守)?(?:性)?(?:切除)?术?(?:后)(?:改变|复查|随访|表现|"
        "状态)?|(?:治疗)?(?:后)?复查|病史|史" + _END,
    ),
    Cue(
        "unsaid",
        "ahead",
        "(?:有|既往|过去|曾患)?(?:病史|既往史?)[：:]?|有无|是否(?:有|存在|为)?|"
        "建议[^，。；]{0,14}?(?:除外|排除|明确|了解)|(?:以便?|需|请|应|为了?|"
        "进一步)(?:进一步)?(?:除外|排除)|家族史|临床(?:怀疑|疑似?|考虑|诊断|印象)(?:为|有)?|(?:可能)?(?:掩盖|遮蔽)(?:了)?",
    ),
    # present no longer
    Cue(
        "absent",
        "either",
        "(?:已经?|现|较前|完全|均)+(?:吸收|消失|消散|治愈)|完全吸收|(?:现|今|本次|"
        "此次|目前|复查|今日)(?:已)?(?:未见|未见显示)"
        + _END
        + "|(?:已经?|得到)解决|未再(?:见|显示)|不再(?:显示|可见)|(?:已|现)?消失",
    ),
    Cue(
        "gone",
        "either",
        "(?:已|现已|均已|予以)?(?:拔除|拔出|拔管|撤除|撤出|取出|移除|去除|拔去)(?:术)?(?:后)?",
    ),
    # absent
    Cue(
        "absent",
        "back",
        "未见(?:明显|确切|明确)?(?:显示|征象)?"
        + _END
        + "|(?:：|:)\\s*(?:无|阴性|-|没有)"
        + _END
        + "|不明显"
        + _END
        + "|(?:已|可|可以)(?:除外|排除)"
        + _END
        + "|(?:为)?阴性"
        + _END,
    ),
    Cue(
        "absent",
        "ahead",
        "未见(?!过)|未示|未显示|未发现|未及|未探及|未提示|未出现|未观察到|未检出|未看到|看不到|"
        "不伴|未合并|并无|无(?!气肺)|没有|否认|非(?=肺炎|感染|结核)|不支持|不表明(?:有)?|排除了|"
        "已(?:除外|排除)|可(?:除外|排除)|不存在|未能?见|不符合|不是|而非",
    ),
    Cue(
        "absent",
        "ahead",
        "(?:^[\\s\\d.、)）]*|(?<=(?:异常|病变|正常|清晰|完整)[，,]))(?:故|因此|目前|现|今|影像|x线)?(?:可以)?(?:排除|除外)"
        "(?![^，。；]*(?:[?？]|后|外))(?!.*[，,；](?:余|其余|其他|另))",
    ),
    Cue("absent", "back", "(?<![待请需以])排除" + _END + "|可以(?:排除|除外)" + _END),
    Cue("unsaid", "ahead", "排除|除外"),
    Cue(None, "ahead", "符合|提示|代表|表现为|所致|引起|导致"),
]

MARKS: Sequence[Rule] = [
    Mark(
        "stop",
        "但(?:是)?|而(?!非)|然而|余(?!肺)|其余(?!肺)|另(?:外|见)?|可见|伴(?:有)?|同时|存在|"
        "外(?=，|,)|仍(?:有|可)?见?",
    ),
    Mark("or", "或(?:者)?(?!为|系)"),
    Mark("pause", "[，,：:（）()]"),
]

_LISTED = re.compile(r"[\s。、及和或与以等征象影的并明显者]*")


_GOES_ON = re.compile(r"\s*(?:(?:例|比)?如|包括|以|其中|尤|多|部分)")


def _ends(text: str, tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma ends a scope: not if what follows goes on with a list or has no subject."""
    if text[tokens[i].start] in ":：":
        return False
    right = _chunk(tokens[i + 1 :])
    until = next((t.start for t in tokens[i + 1 :] if t not in right), len(text))
    if not right or _GOES_ON.match(text, tokens[i].end):
        return not _GOES_ON.match(text, tokens[i].end)
    named = [t for t in right if isinstance(t.rule, Organ) or (isinstance(t.rule, Term) and t.rule.says)]
    if not named:
        return any(isinstance(t.rule, Term) for t in right) or not any(
            isinstance(t.rule, Quality) or (isinstance(t.rule, Cue) and t.rule.reach in ("back", "either"))
            for t in right
        )
    if not all(_goes_on(t.rule) for t in right):
        return True
    rest, at = "", tokens[i].end
    for token in right:
        rest, at = rest + text[at : token.start], token.end
    rest += text[at:until]
    alone = not _LISTED.fullmatch(rest) or not re.search("[及和或与等、]", text[tokens[i].end : until])
    before = _chunk(tokens[:i][::-1])
    return alone or not any(isinstance(t.rule, Cue) and t.rule.meaning == "absent" for t in before)


def _goes_on(rule: Rule) -> bool:
    """Whether this can stand in what is left of a list."""
    return (
        isinstance(rule, Term)
        or (isinstance(rule, Mark) and rule.kind == "or")
        or (isinstance(rule, Quality) and rule.only_absent)
    )


def _chunk(tokens: Sequence[Token]) -> list[Token]:
    """The tokens up to the next pause or stop."""
    out: list[Token] = []
    for token in tokens:
        if isinstance(token.rule, Mark) and token.rule.kind in ("pause", "stop"):
            break
        out.append(token)
    return out


CHINESE = Rules(
    rules=[*FIRST, *NONE, *TERMS, *QUALITIES, *CUES, *ORGANS, *MARKS],
    sides={
        "左(?:心|房|室|主支气管|上腹|前|旋|位)|右(?:心|房|室|主支气管|上腹|前|位)|双(?:腔|重)|"
        "两(?:根|枚|处|个|条|次|年|月|周|天)": None,
        "双(?=侧|肺|下|上|中|肋|胸|肩|锁|膈|肺门|尖|基底|乳)|两(?=侧|肺|下|上|中|肋|胸|肩|锁|膈|"
        "肺门|尖|边)|左右": "bilateral",
        "左": "left",
        "右": "right",
    },
    ends=_ends,
    words=False,
    gap="(?:的|大小|增大的|、|双|两|侧)*",
    listed=r"[\s、及和或与以并伴，]*(?:少量|轻度|少许|邻近|局部|部分)?",
    joined=r"(?:并|伴有?|合并)(?:少量|轻度|少许|邻近|局部|部分|阻塞性|压迫性)?",
    turn="[；;]|但|余|另|而",
)
