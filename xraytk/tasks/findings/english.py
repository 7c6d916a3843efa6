"""The English rules: organs, sides, and where a comma or "and" ends a scope.

A blunted angle is an uncertain sign of effusion, a sharp one a sign of none; clear lungs are a sign
of no Lung Opacity, intact bones of no Fracture (all ours). The cardiomediastinal silhouette speaks
of Enlarged Cardiomediastinum alone; R and L that stand alone are sides; the upper limit of normal is
normal, borderline is uncertain.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xraytk.tasks.findings.english_cues import CUES, FIRST, MARKS, QUALITIES
from xraytk.tasks.findings.english_terms import AGAIN, NONE, TERMS
from xraytk.tasks.findings.labels import ECM, FLUID, FRACTURE, HEART, OPACITY, PLEURA
from xraytk.tasks.findings.rules import (
    Again,
    Cue,
    Mark,
    Meaning,
    Organ,
    Quality,
    Rule,
    Rules,
    Says,
    Term,
    Token,
)

_BONES = (Says(FRACTURE, sign=True),)
ORGANS: Sequence[Rule] = [
    Organ(
        (Says(ECM),),
        "mediastinum",
        r"cardio_?(?:vascular )?(?:pericardial )?mediastin\w+(?: and hilar)?(?: (?:silhouettes?|"
        r"contours?|structures?|borders?|size|shadow))*"
        r"|cardiac mediastinal (?:silhouette|contours?)",
    ),
    Organ(
        (Says(HEART),),
        "heart",
        r"(?:heart|cardiac|cardiopericardial|pericardial)(?: (?:silhouettes?|contours?|sizes?|"
        r"shadows?|borders?|diameters?))*(?= (?:and|or|/|,|is|are|was|appears?|remains?|size|"
        r"normal|mildly|within|not|at|borderline|enlarged|upper|top|moderately|slightly|has|"
        r"shows?|with)|[ ,.:/]|$)",
    ),
    Organ(
        (Says(ECM),),
        "mediastinum",
        r"(?:(?:superior|upper|anterior) )?mediastin(?:um|al)(?:(?: (?:and|or) |/|"
        r" )hilar)?(?: (?:silhouettes?|contours?|structures?|borders?|size|width|shadow|"
        r"outlines?))*",
    ),
    Organ(
        (Says(FLUID, -1, sign=True),),
        "angles",
        r"(?:(?:lateral|posterior|left|right|bilateral) )*(?:costo_?phrenic|cp|"
        r"costodiaphragmatic)(?: (?:angles?|sulc\w+|recess\w*|sinus\w*|xxxx))?(?: angles?)?|"
        r"posterior sulc\w+",
    ),
    Organ((Says(FLUID, 1, sign=True),), "pleura", r"pleural (?:spaces?|cavit(?:y|ies))"),
    Organ(
        (Says(PLEURA, 1, sign=True),),
        "pleura",
        r"pleural (?:surfaces?|margins?|reflections?|contours?)|pleura",
    ),
    Organ(
        (Says(OPACITY, sign=True),),
        "lungs",
        r"(?:(?:both|left|right|bilateral|remaining|visualized|aerated|imaged|"
        r"each) )*(?:lungs?(?: (?:fields?|parenchyma|zones?|bases?|apices|apex))?|"
        r"lung xxxx)(?! (?:volumes?|nodules?|markings?|cancer|disease|vascul\w+|expansion|abscess|"
        r"lesions?|opacit\w+|mass))",
    ),
    Organ(
        _BONES,
        "bones",
        r"(?:(?:visualized|imaged|regional|thoracic|remaining) )*(?:(?:osseous|bony|"
        r"skeletal) (?:structures?|thorax|skeleton|elements?|framework|thoracic structures)|"
        r"(?:bones|ribs|clavicles)|thoracic (?:spine|cage|vertebra\w*)|vertebral bod\w+|skeleton)",
    ),
]

_STARTS = re.compile(
    r"\W*(?:there|the|this|these|those|it|its|stable|unchanged|mild\w*|minimal\w*|moderate\w*|"
    r"severe\w*|small|tiny|trace"
    r"|slight\w*|subtle|persistent|chronic|increas\w+|decreas\w+|improv\w+|worsen\w+|new|"
    r"interval|old|healed|healing"
    r"|prior|remote|calcified|degenerative|scattered|several|multiple|status|placement|"
    r"insertion|development|possib\w+"
    r"|probabl\w+|likely|questionable|suspected|perhaps|presum\w+|otherwise|normal|clear|some|"
    r"known|residual (?!effus|pneumo)"
    r"|patchy|streaky|linear|again|stably|postoperative|postsurgical|tortuous|atherosclerotic|"
    r"low|borderline|cannot(?! be)|unable"
    r"|cardiomegaly|scoliosis|hyper\w+|emphysema\w*|(?P<article>an?)\b)(?!\w)"
)
_CLOSES = re.compile(r"[^.;]*\bor\b")
_ASIDE = re.compile(
    r"\W*(?:\w+(?:ly|ed)|also|again|now|still|already|once|seen|known|shown|new|old|which|that|who|as|if|"
    r"in|on|at|of|to|by|from|for|with\w*|over|near|along|than|more|less|so|or|and|not|is|are|was|were|has|"
    r"have|had|may|might|could|left|right|l|r|[lr][uml]l|bi\w+|upper|lower|mid\w*|(?!clinical)\w+al|basilar|"
    r"lingula\w*|small|tiny|large|moderate)\b|\W*$"
)
"""What goes on with a sentence behind a comma, and begins none of its own."""
_BACK = ("back", "either", "auto")


def _ends(text: str, tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma or "and" ends a scope: what follows stands on its own."""
    pause = tokens[i]
    right = _chunk(tokens[i + 1 :])
    joint = i > 0 and _pauses(tokens[i - 1]) and not text[tokens[i - 1].end : pause.start].strip()
    left = _chunk(tokens[: i - 1 if joint else i][::-1])
    listed = text[pause.start] != "," and left and all(isinstance(t.rule, Term | Again) for t in left)
    if listed and _predicate(right) == "uncertain":  # "pneumonia and small effusions cannot be excluded"
        return False
    if (start := _STARTS.match(text, pause.end)) and not (
        start["article"] and _CLOSES.match(text, pause.end)
    ):
        return True
    subject = next((k for k, t in enumerate(right) if isinstance(t.rule, Term | Again | Organ)), None)
    if subject is None:
        says = next((t.start for t in right if isinstance(t.rule, Cue) and t.rule.reach in _BACK), pause.end)
        return text[pause.start] == "," and not _ASIDE.match(text[pause.end : says])
    told = right[subject + 1 :]
    if (predicate := _predicate(told)) is not None:
        if any(isinstance(t.rule, Cue) and t.rule.reach == "ahead" for t in left):
            return True
        if text[pause.start] == ",":  # a list would close with "and" or "or" before what is said of it
            return predicate == "uncertain" and not _has_or([*tokens[:i], *told])
        return any(_is_verb(text, t) for t in left)
    if isinstance(right[subject].rule, Organ) and any(isinstance(t.rule, Quality) for t in told):
        judges = [t for t in left if isinstance(t.rule, Organ | Quality | Term | Cue)]
        return bool(judges) and not isinstance(judges[0].rule, Organ)
    if any(_is_verb(text, t) for t in right[:subject]) or not any(_is_verb(text, t) for t in told):
        return False
    return any(_is_verb(text, t) for t in left) or any(
        (isinstance(t.rule, Mark) and t.rule.kind == "steady") or isinstance(t.rule, Quality | Cue)
        for t in told
    )


def _predicate(told: Sequence[Token]) -> Meaning | None:
    """What is said of a subject by the first cue behind it that reaches back."""
    for i, token in enumerate(told):
        if isinstance(token.rule, Cue) and token.rule.meaning:
            reach = token.rule.reach
            objects = any(isinstance(t.rule, Term | Organ) for t in told[i + 1 :])
            if reach in ("back", "either") or (reach == "auto" and not objects):
                return token.rule.meaning
    return None


def _has_or(tokens: Sequence[Token]) -> bool:
    return any(isinstance(t.rule, Mark) and t.rule.kind == "or" for t in tokens)


def _chunk(tokens: Sequence[Token]) -> list[Token]:
    """The tokens up to the next pause or stop."""
    out: list[Token] = []
    for token in tokens:
        if isinstance(token.rule, Mark) and token.rule.kind in ("pause", "stop"):
            break
        out.append(token)
    return out


def _pauses(token: Token) -> bool:
    return isinstance(token.rule, Mark) and token.rule.kind == "pause"


def _is_verb(text: str, token: Token) -> bool:
    if isinstance(token.rule, Mark):
        return token.rule.kind == "verb"
    return isinstance(token.rule, Cue) and text.startswith(("may", "might", "could", "cannot"), token.start)


def _letter(side: str) -> str:
    """The pattern of L or R as a side: no litres, no spine or vertebra, no initial, not "r/o"."""
    return (
        rf"=(?<![\w.])(?<!\d\s)(?<!\bdr\s)(?<!\bdr\.\s){side}"
        r"(?!\w|['’.&]\s*\w|/(?![lr]\b)|\s*[=:]|[ -]?(?:\d|spine|spinal|vertebr|wave))"
    )


ENGLISH = Rules(
    rules=[*NONE, *FIRST, *TERMS, *AGAIN, *QUALITIES, *CUES, *ORGANS, *MARKS],
    sides={
        r"(?:left|right|l|r) (?:ventric\w+|atri\w+|heart|cardiac|anterior|main|cavoatrial|"
        r"upper quadrant|upper abdom\w+|shift)": None,
        r"(?:left|right) to (?:left|right)": None,
        r"(?:left|right)(?: \w+)? (?:greater|more|larger|worse|less|slightly greater|"
        r"slightly more) than(?: the| on the)? (?:left|right)": "bilateral",
        r"bilat(?:eral(?:ly)?)?|b/l|both|bi_?basilar|bi_?basal|bi_?apical|bi_?hilar|(?:left|"
        r"right) and (?:left|right)|(?:each|either) (?:lung|side|base|hemithorax)": "bilateral",
        r"left(?:ward)?|lll|lul|lingula\w*": "left",
        r"right(?:ward)?|rll|rul|rml": "right",
        _letter("l"): "left",
        _letter("r"): "right",
    },
    ends=_ends,
    words=True,
    gap=r"[ -]*(?:(?:of|in|size|sized|appearing|the|both|contours?|overall|and (?:\w+ )?expanded|"
    r"and (?:configuration|contour|shape|appearance|size)|appearance"
    r"|superior|upper|bilateral|left|right|thoracic|visualized|imaged|for|position|caliber|"
    r"configuration|transverse|lateral|well aerated|cardiac)[ -]+)*",
    listed=r"[ ,/]*(?:(?:and|or|and/or)[ ]+)?(?:(?!no\b|without\b|stable\b|unchanged\b)[a-z]+[ ]+){0,2}",
    joined=r" with (?:(?:adjacent|associated|underlying|overlying|compressive|post[ -]?obstructive"
    r"|accompanying|subjacent|mild|minimal|some) )+",
    turn=r"[;]|\b(?:but|however|although|and|though|while|otherwise)\b",
)
