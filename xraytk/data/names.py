"""Names of people that stand beside a word which betrays them.

"Dr. X", "Dictated by: X", "X, MD", "discussed with X"; the Chinese ones are in `data.names_zh`. A
name without such a word beside it is found only if the header holds it (`data.scrub`).
"""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found, is_hole

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

def names(text: str) -> Iterator[Found]:
    """Names in letters beside a word that betrays them.

    Args:
        text: In which full-width letters, digits and signs have been made plain.

    Source:
        Ours.
    """
    for found in _TITLE.finditer(text):
        end = found.end()
        while span := person(text, end, lower=found[0][0] in "dmp", most=4):
            yield Found(*span, "name")
            more = re.compile(r"\s*(?:,|/|&|and)\s*(?=[A-Z])").match(text, span[1])
            if more is None or found[0].strip(" .").casefold() not in ("drs", "doctors"):
                break
            end = more.end()
    for pattern in (_BY, _LABEL, _PATIENT, _KIN) if ":" in text else (_BY, _PATIENT, _KIN):
        for found in pattern.finditer(text):
            if span := person(text, found.end(), most=4, comma=True):
                yield Found(*span, "name")
    for talk in _TALK.finditer(text):
        until = talk.start() + _TALK_WITHIN
        if stop := _CLAUSE.search(text, talk.end(), until):
            until = stop.start()
        for found in _TO.finditer(text, talk.start(), until):
            if (span := person(text, found.end(), most=4)) and not text[span[0] : span[1]].isupper():
                yield Found(*span, "name")
    for found in _CREDENTIAL.finditer(text):
        if span := _before(text, found.start()):
            yield Found(*span, "name")


def person(
    text: str, at: int, *, most: int, lower: bool = False, comma: bool = False
) -> tuple[int, int] | None:
    """The capitalised words from ``at`` on that can be a name; one word if lower case will do.

    Args:
        text: In which to look.
        at: Where the name may begin.
        most: Words, at most.
        lower: Whether one word in lower case is a name too.
        comma: Whether a comma may follow the first word: "Doe, Jane".

    Returns:
        Start and end, or None.
    """
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

