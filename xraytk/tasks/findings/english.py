"""The English rules: organs, sides, and where a comma or "and" ends a scope.

A blunted angle is an uncertain sign of effusion, a sharp one a sign of none; clear lungs are a sign
of no Lung Opacity, intact bones of no Fracture (all ours). The cardiomediastinal silhouette speaks
of Enlarged Cardiomediastinum alone; the upper limit of normal is normal, borderline is uncertain.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xraytk.tasks.findings.english_cues import CUES, FIRST, MARKS, QUALITIES
from xraytk.tasks.findings.english_terms import NONE, TERMS
from xraytk.tasks.findings.labels import ECM, FLUID, FRACTURE, HEART, OPACITY, PLEURA
from xraytk.tasks.findings.rules import Cue, Mark, Organ, Quality, Rule, Rules, Says, Term, Token

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
    r"low|borderline|cannot|unable"
    r"|cardiomegaly|scoliosis|hyper\w+|emphysema\w*|(?P<article>an?)\b)(?!\w)"
)
_CLOSES = re.compile(r"[^.;]*\bor\b")


def _ends(text: str, tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma or "and" ends a scope: what follows stands on its own."""
    pause = tokens[i]
    if (start := _STARTS.match(text, pause.end)) and not (
        start["article"] and _CLOSES.match(text, pause.end)
    ):
        return True
    right = _chunk(tokens[i + 1 :])
    left = _chunk(tokens[:i][::-1])
    subject = next((k for k, t in enumerate(right) if isinstance(t.rule, Term | Organ)), None)
    if subject is None:
        return False
    told = right[subject + 1 :]
    if any(isinstance(t.rule, Cue) and t.rule.meaning and t.rule.reach in ("back", "either") for t in told):
        return any(isinstance(t.rule, Cue) and t.rule.reach == "ahead" for t in left)
    if isinstance(right[subject].rule, Organ) and any(isinstance(t.rule, Quality) for t in told):
        judges = [t for t in left if isinstance(t.rule, Organ | Quality | Term | Cue)]
        return bool(judges) and not isinstance(judges[0].rule, Organ)
    if any(_is_verb(text, t) for t in right[:subject]) or not any(_is_verb(text, t) for t in told):
        return False
    return any(_is_verb(text, t) for t in left) or any(
        (isinstance(t.rule, Mark) and t.rule.kind == "steady") or isinstance(t.rule, Quality | Cue)
        for t in told
    )


def _chunk(tokens: Sequence[Token]) -> list[Token]:
    """The tokens up to the next pause or stop."""
    out: list[Token] = []
    for token in tokens:
        if isinstance(token.rule, Mark) and token.rule.kind in ("pause", "stop"):
            break
        out.append(token)
    return out


def _is_verb(text: str, token: Token) -> bool:
    if isinstance(token.rule, Mark):
        return token.rule.kind == "verb"
    return isinstance(token.rule, Cue) and text.startswith(("may", "might", "could", "cannot"), token.start)


ENGLISH = Rules(
    rules=[*NONE, *FIRST, *TERMS, *QUALITIES, *CUES, *ORGANS, *MARKS],
    sides={
        r"(?:left|right) (?:ventric\w+|atri\w+|heart|cardiac|anterior|main|cavoatrial|"
        r"upper quadrant|upper abdom\w+|shift)": None,
        r"(?:left|right) to (?:left|right)": None,
        r"(?:left|right)(?: \w+)? (?:greater|more|larger|worse|less|slightly greater|"
        r"slightly more) than(?: the| on the)? (?:left|right)": "bilateral",
        r"bilateral(?:ly)?|both|bi_?basilar|bi_?basal|bi_?apical|bi_?hilar|(?:left|"
        r"right) and (?:left|right)|(?:each|either) (?:lung|side|base|hemithorax)": "bilateral",
        r"left(?:ward)?|lll|lul|lingula\w*": "left",
        r"right(?:ward)?|rll|rul|rml": "right",
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
