"""The Chinese rules (simplified characters), as Chinese radiologists write.

Decisions where usage differs: 考虑, 可能, 疑, 待排, 不除外 are uncertain, 符合 and 提示 present;
请结合临床 changes nothing; 较前吸收, 减少 are still present, 基本吸收 uncertain, 已吸收 absent;
肺纹理增多 is no Lung Opacity, 纤维灶, 条索影 and 间质性改变 are; 钙化灶 is no Lung Lesion, 钙化结节 is;
肋膈角锐利 is a sign of no effusion, 变钝 or 模糊 an uncertain sign of one; 心影饱满 is uncertain;
a 心胸比 above 0.5 is Cardiomegaly; 陈旧性骨折 is a Fracture, 楔形变 an uncertain sign of one;
术后 takes a lesion away and leaves a fracture and a device; 炎症 and 感染 are Pneumonia.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xraytk.tasks.findings.english import (
    AIR,
    COLLAPSE,
    CONSOLIDATION,
    DEVICE,
    ECM,
    EDEMA,
    FLUID,
    FRACTURE,
    HEART,
    LESION,
    OPACITY,
    PLEURA,
    PNEUMONIA,
)  # fmt: skip
from xraytk.tasks.findings.rules import Cue, Mark, Organ, Quality, Rule, Rules, Says, Term, Token

_NO = frozenset({0})
_END = r"(?=\s*(?:[，。；;,、？?）)]|$))"

NONE: Sequence[Rule] = [
    Term((), pattern)
    for pattern in (
        "心包(?:少量|大量|腔)?积液|(?:关节腔?|盆腔|腹腔|腹膜?|膝关节|鼻窦|窦腔)(?:少量)?积液|积液积气",
        "(?:皮下|软组织|脑|喉头|面部|下肢)水肿|骨髓水肿",
        "(?:甲状腺|乳腺|肾上腺|肝脏?|肾脏?|皮下|软组织|胸壁|腋下)(?:多发)?(?:结节|肿块|占位|肿瘤|癌)[影灶]?",
        "(?:骨质?|椎体|肋骨)(?:转移瘤?|肿瘤|占位|结节|密度|破坏)",
        "(?:毛细|慢性|急性|喘息性)*支?气管(?:周围)?(?:炎症?|感染)|胸膜炎|心肌炎|关节炎|肩周炎",
        "抗感染|抗炎|消炎|感染性休克|炎性肉芽肿",
        "(?:金属|气体|脂肪|软组织|钙化|钙质|骨质?|液体)(?:样|状)?(?:高)?密度(?:影|灶)?(?!骨)",
        "钙化(?:斑点|密度|斑|灶|点|影)?(?!结节)",
        "(?:双|两|左|右|侧)?(?:肺|支气管)+(?:血管)?纹理",
        "肺(?:气肿|大泡|大疱|功能|血管|动脉高压|门|动脉段|尖帽下|癌筛查|结核筛查)",
        "乳头影?|胃泡|皮肤皱褶|伪影|胸锁乳突肌|心影(?:后方|后|旁|重叠|前)|纵隔(?:气肿|气管|居中|无移位|移位)",
        "骨折(?:风险|门诊)|胸膜下|结节性硬化|无名动脉|双(?:腔|J管|重)|心脏(?:术后|手术|搭桥)|"
        "(?:瓣膜)?置换术前",
        "感染科|肿瘤科|肿瘤标志物?|癌胚|阴影法",
        "结核(?!球)|呼吸|主动脉(?:支架样)?钙化|胸骨柄",
    )
]

_FAILURE = (Says(EDEMA), Says(HEART, -1, sign=True, keep=frozenset({-1})))
_TINY = "(?:少量|中量|大量|微量|少许|包裹性|局限性|内|底部|腔内|中等量|有|可见|见|的|中|有少量|内见|内少量)*"
TERMS: Sequence[Rule] = [
    # heart and mediastinum
    Term(
        (Says(HEART),),
        r"心胸比(?:例|率|值)?(?:约|为|是|≈|:|：|=|\s)*(?:0?\.(?:5[1-9]|[6-9]\d?)|(?:5[1-9]|"
        r"[6-9]\d)(?:\.\d)?%)",
    ),
    Term(
        (Says(HEART),), r"心胸比(?:例|率|值)?(?:约|已|略|稍|明显)?(?:大于|>|＞|超过|>=|≥)\s?(?:0?\.5\d?|5\d%)"
    ),
    Term(
        (Says(HEART, 0),),
        r"心胸比(?:例|率|值)?(?:约|为|是|≈|:|：|=|\s)*(?:小于|<|＜|不超过|未超过|"
        r"≤)?\s?(?:0?\.(?:[1-4]\d?|50?)|(?:[1-4]\d|50)(?:\.\d)?%)",
    ),
    Term((Says(HEART),), "(?:左|右|双|全)(?:心室|室|心)(?:室|影|缘)?(?:轻度|明显|略|稍)?(?:增大|扩大|肥大)"),
    Term((Says(ECM),), "(?:前|中|后|上)?纵隔(?:内|区|旁)?(?:肿块|占位|肿瘤|团块)(?:性病变|影)?"),
    # named in two ways
    Term((Says(AIR), Says(FLUID)), "(?:液|血|脓)气胸"),
    Term(
        (Says(PNEUMONIA), Says(OPACITY)),
        "间质性肺炎|炎性(?:渗出|浸润|实变影)(?:性)?(?:病变|影|灶)?|(?:炎性|"
        "感染性)[^，。；、未无]{0,4}(?:斑片|片状|渗出)影?",
    ),
    Term(_FAILURE, "(?:充血性)?(?:左|右|全)?(?:心力?|心脏|心功能)(?:衰竭?|不全)(?:表现|征象)?"),
    # pleura
    Term(
        (Says(FLUID),),
        "(?:胸膜?腔|胸部|叶间(?:裂|胸膜)?|肺底|胸膜|纵隔旁)"
        + _TINY
        + "(?:积液|积水|液体)|胸水|水胸|(?:胸腔积|积)血|血胸|脓胸|乳糜胸|积液|胸腔渗液",
    ),
    Term(
        (Says(AIR),), "(?:张力性|自发性|外伤性|闭合性)?气胸(?:线|带|征)?|胸腔积气|胸膜腔(?:内)?(?:积气|气体)"
    ),
    Term((Says(AIR, sign=True),), "肺组织(?:被)?(?:受)?压缩|肺压缩"),
    Term(
        (Says(PLEURA),),
        "(?:叶间|侧胸壁|肺尖)?胸膜(?:局限性|局部|轻度|稍|略|明显|广泛|弥漫性?|不规则|多发|的|"
        "反应性|肥厚|增厚|、|及|伴|并|粘连|钙化)*(?:增厚|肥厚|粘连|钙化|斑块|斑|间皮瘤|肿瘤|结节|"
        "反应|病变)|胸膜斑|(?:叶间|水平|斜)裂增厚|肺尖帽|间皮瘤",
    ),
    # bones
    Term(
        (Says(FRACTURE, -1, sign=True),),
        "(?:椎体)?(?:楔形(?:样)?(?:改变|变)|压缩(?:性改变|变扁|变形|样改变))|椎体变扁",
    ),
    Term(
        (Says(FRACTURE),),
        "(?:压缩性|陈旧性?|粉碎性|病理性|多发|新鲜|线性|隐匿性)*骨折(?:线|征象|征|端)?|骨(?:皮质|"
        "质)(?:扭曲|中断|断裂|不连续|连续性中断)|断裂",
    ),
    Term((Says(FRACTURE, sign=True, keep=_NO),), "骨质(?:异常|病变|改变|损伤)|骨性异常"),
    # lungs
    Term(
        (Says(LESION),),
        "(?:微小|小|多发|钙化|磨玻璃|实性)?结节(?:状|样)?(?:影|灶|病灶|性病变)?|肿块(?:状|"
        "样)?影?|占位(?:性病变|性改变)?|团块(?:状)?影?|肿瘤(?:性病变)?|(?:肺|支气管|中央型|"
        "周围型)*癌(?:肿)?|转移(?:瘤|灶|性肿瘤|性病变)|新生物|空洞(?:性病变|影)?|球形(?:病灶|灶|"
        "影)|肺脓肿|错构瘤|结核球|炎性假瘤|转移",
    ),
    Term(
        (Says(PNEUMONIA),),
        "(?:支气管|大叶性|小叶性|吸入性|坠积性|病毒性|细菌性)*肺炎(?!性)|(?:肺部?)?(?:炎症|"
        "炎性)(?:性)?(?:病变|改变|病灶|表现)?|(?:肺部?)?感染(?:性)?(?:病变|病灶|灶|改变|征象)?",
    ),
    Term((Says(EDEMA),), "(?:间质性|肺泡性|急性|混合性)*(?:肺)?(?:间质|肺泡)?水肿"),
    Term((Says(EDEMA, sign=True),), "(?:肺|肺部)?(?:血管)?(?:淤血|瘀血|充血)"),
    Term(
        (Says(EDEMA, -1, sign=True),),
        r"kerley\s?(?:[ab])?\s?线|克氏(?:[ab])?线|间隔线|肺血(?:管)?(?:重新分布|再分布)",
    ),
    Term((Says(CONSOLIDATION),), "(?:肺)?(?:大片|片状|节段性|大叶性)?实变(?:影|灶|征)?|固结"),
    Term(
        (Says(COLLAPSE),),
        "(?:盘状|线状|压迫性|节段性|亚段|肺|肺叶|阻塞性)*(?:不张|膨胀不全|膨胀不良|萎陷|塌陷)(?!.{0,2}椎)",
    ),
    Term(
        (Says(OPACITY),),
        "间质(?:性)?(?:改变|病变|肺病|纤维化|增厚|增生|浸润)|(?:肺|间质|间质性)+纤维化|蜂窝(?:状|"
        "样)?(?:影|改变|肺)?",
    ),
    Term(
        (Says(OPACITY),),
        "(?:斑点|斑片|片絮|云絮|絮片|絮|片|斑|条片|网格|网|条索|索条|条|带|线|线条|磨玻璃|毛玻璃|"
        "粟粒|大片|小片|点|网结节)(?:状|样|性)?(?:、(?:斑片|条索|片|索条|网格)(?:状|样)?)?(?:稍|"
        "略|淡薄)?(?:的|及|模糊|致密|高|增高|密度|低|异常|增浓|较|稍|实质)*(?:影|阴影|灶|病灶|"
        "渗出|浸润|改变)",
    ),
    Term(
        (Says(OPACITY),),
        "(?:纤维(?:条索|索条|增殖|硬结|化|性|钙化|瘢痕)*(?:灶|影|病灶|改变))|索条|瘢痕|(?:渗出|"
        "浸润)(?:性)?(?:病变|病灶|影|灶|改变)?|(?:高|异常|致密|增高|增浓|模糊)(?:的)?(?:密度|"
        "阴)?影|密度(?:不均匀)?(?:增高|增浓)(?:影|区|灶)?|磨玻璃(?:影|样)?|斑片|(?:片状)?阴影|"
        "不透明(?:影|度增加)?|实质性病变|不透亮影|陈旧性?(?:病灶|病变|灶)",
    ),
    # devices
    Term(
        (Says(DEVICE),),
        "picc(?:导?管|置管)?|cvc|(?:中心静脉|深静脉|锁骨下静脉|颈内静脉|颈静脉|股静脉|静脉|"
        "动脉)(?:导管|置管|插管|留置管)|输液港|漂浮导管|ecmo|iabp|球囊反搏(?:管)?",
    ),
    Term(
        (Says(DEVICE),),
        "(?:气管|气管内)?插管|气管(?:切开)?(?:套管|导管)|气管切开|(?:胸腔|胸管|心包|纵隔|"
        "闭式)?(?:闭式)?引流(?:管|术后)?|(?:鼻?胃|鼻饲|营养|空肠|胃肠|喂养|胸|食管)管(?!道|癌|"
        "裂)|导管|置管|套管|鼻胃管",
    ),
    Term(
        (Says(DEVICE),),
        "(?:永久|临时|双腔|单腔|心脏|人工)*起搏(?:器|电极|导线)(?:植入|置入|安装)?(?:术)?(?:后)?|"
        "(?:植入式)?(?:心律转复)?除颤(?:器|仪)|icd|(?:心电|监护|起搏器?)?(?:电极|导线|导联)(?:片|"
        "线|影)?|脉冲发生器",
    ),
    Term(
        (Says(DEVICE),),
        "(?:冠脉|主动脉|食管|气管|支气管|血管|覆膜)*支架(?:影|置入术后|植入术后)?|内固定(?:物|器|"
        "钢板|影|术后|术)?|(?:金属)?(?:钢板|钢丝|螺钉|钛夹|银夹|夹子|缝线|缝合钉|钢钉|吻合钉|"
        "固定钉|固定器)(?:影)?|手术夹|(?:人工|机械|生物|金属)?瓣膜?(?:置换术?后?|植入|成形|影)|"
        "人工(?:心脏)?瓣膜?|假体|封堵器|滤器|分流管",
    ),
]

ORGANS: Sequence[Rule] = [
    Organ(
        (Says(HEART),),
        "heart",
        "心(?:脏|影|界|胸比(?:例|率|值)?)(?:形态|大小|轮廓|外形|横径|的)*|心(?=[、肺膈纵及和])",
    ),
    Organ((Says(ECM),), "mediastinum", "(?:上)?纵[隔膈](?:影|轮廓)?|心胸廓[形线]"),
    Organ((Says(FLUID, -1, sign=True),), "angles", "(?:肋膈|肋隔)(?:角|窦|隐窝)|(?:后|前)肋膈角"),
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
QUALITIES: Sequence[Rule] = [
    Quality(
        0,
        _SIZED,
        "(?:不|未见?|无|没有|未见明显|无明显)(?:明显|显著)?(?:的)?(?:增大|扩大|肥大|增宽)(?:影|"
        "改变|征象)?(?!的)|不(?:大|宽)(?![于量])",
    ),
    Quality(0, frozenset({"angles"}), "(?:不|未见?|无)(?:明显)?(?:变钝|模糊|圆钝|消失)"),
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
        None,
        "ahead",
        "(?:未见|无)(?:明显|显著)?(?:变化|改变(?!，?)|增多|增大|吸收|减少|进展|好转|扩大|移位|"
        "缩小)|未(?:完全|全部)(?:吸收|消失|复张)|请结合临床|变化不(?:大|著|明显)|显示不明显|"
        "(?:部分|较前|明显|大部分?|略有?|较前明显|较前部分)+(?:吸收|减少|好转|消散)",
    ),
    # uncertain
    Cue(
        "uncertain",
        "auto",
        "(?:不|未|无法|难以|不能|尚不能|未能|不能够|难)(?:能)?(?:完全|绝对)?(?:除外|排除)",
    ),
    Cue(
        "uncertain",
        "back",
        "待(?:排除?|除外|查|定|证实|鉴别)|(?:的)?可能(?:性)?(?:较|很|极)?(?:大|高)|可能性?(?:小|"
        "较小)|(?:的)?可能性?" + _END + "|可疑" + _END + "|(?:不太|不大)可能" + _END,
    ),
    Cue("uncertain", "before", "[?？]"),
    Cue(
        "uncertain",
        "ahead",
        "可能性?(?:为|是|存在|有|系|由|代表|伴|表明|表示)?|考虑(?:为|有|是)?|疑似|疑为|疑有|"
        "怀疑(?:有|为|是)?|可疑|似(?:有|见|可见|呈|为)?|疑|倾向于?|或为|或系|也许|不太可能|大概|"
        "拟诊?|鉴别",
    ),
    Cue("uncertain", "back", "(?:较前|大致|已)?基本(?:吸收|消失|消散)"),
    # nothing said
    Cue(
        "unsaid",
        "before",
        "(?:根治|切除|治疗|放疗|化疗|抗炎|保守)?(?:性)?(?:切除)?术?(?:后)(?:改变|复查|随访|表现|"
        "状态)?|(?:治疗)?(?:后)?复查|病史|史" + _END,
    ),
    Cue(
        "unsaid",
        "ahead",
        "(?:有|既往|过去|曾患)?(?:病史|既往史?)[：:]?|有无|是否(?:有|存在|为)?|"
        "建议[^，。；]{0,14}?(?:除外|排除|明确|了解)|(?:以便?|需|请|应|为了?|"
        "进一步)(?:进一步)?(?:除外|排除)|家族史|(?:可能)?(?:掩盖|遮蔽)(?:了)?",
    ),
    # present no longer
    Cue(
        "absent",
        "either",
        "(?:已经?|现已?|较前|已完全|完全|均已)+(?:吸收|消失|消散|治愈)|完全吸收|(?:现|今|本次|"
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


_EXAMPLES = re.compile(r"\s*(?:例|比)?如|\s*包括")


def _ends(text: str, tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma ends a scope: not if what follows goes on with a list or has no subject."""
    if text[tokens[i].start] in ":：":
        return False
    right = _chunk(tokens[i + 1 :])
    until = next((t.start for t in tokens[i + 1 :] if t not in right), len(text))
    if not right or _EXAMPLES.match(text, tokens[i].end):
        return False
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
    rules=[*QUALITIES[:2], *CUES[:2], *NONE, *TERMS, *QUALITIES[2:], *CUES[2:], *ORGANS, *MARKS],
    sides={
        "左(?:心|房|室|主支气管|上腹|前|旋|位)|右(?:心|房|室|主支气管|上腹|前|位)|双(?:腔|重)|"
        "两(?:根|枚|处|个|条|次|年|月|周|天)": None,
        "双(?:侧|肺|下|上|中|肋|胸|肩|锁|膈|肺门|尖|基底|乳)|两(?:侧|肺|下|上|中|肋|胸|肩|锁|膈|"
        "肺门|尖|边)|左右": "bilateral",
        "左": "left",
        "右": "right",
    },
    ends=_ends,
    words=False,
    gap="(?:的|大小|增大的|、|双|两|侧)*",
    listed=r"[\s、及和或与以并伴，]*(?:少量|轻度|少许|邻近|局部|部分)?",
)
