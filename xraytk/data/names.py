"""Names of people that stand beside a word which betrays them.

"Dr. X", "Dictated by: X", "X, MD", "discussed with X"; the Chinese ones are in `data.names_zh`. A
name without such a word beside it is found only if the header holds it (`data.scrub`).
"""

# ruff: noqa: E501  (patterns are read whole)

from __future__ import annotations

import re
from collections.abc import Iterator

from xraytk.data.identifiers import CJK, Found, is_hole
from xraytk.data.words import NO_INITIALS, NO_NAME

_ALSO_NAMES = frozenset(("an", "so", "he", "no", "long", "new", "low", "see", "will", "you", "we"))
"""Words that are names only where a clause ends behind them: "Dr. Nguyen Van An, radiologist"."""
_ENDS = ("", ",", ";", ")")
_PARTICLE_WORDS = (
    "de van der den von zu al el bin ibn abu da di do dos das la le du del st ter ten af av y e ben"
)
_PARTICLES = frozenset(_PARTICLE_WORDS.split())
_TOKEN = re.compile(r"[^\W\d_](?:[^\W\d_]|['’‘`.-](?=[^\W\d_]))*\.?|(?<=\s)[dDlLO]['’]")
_CREDENTIAL = re.compile(
    r"\b(?:M\.?D\.?|MBBS|M\.B\.B\.S\.?|MBChB|MB\s?BS|FRCR|MRCP|D\.O\.|Ph\.?D\.?|FACR|FRANZCR|RT\(R\)|R\.T\.|PA-C|ARNP|APRN|CRNA|RRT|LPN|FNP|DNP|RN|R\.N\.|NP)(?![\w.])"
    r"|(?<=, )(?:DO|PA|RT|CNM|CNP|DPM|PGY\s?-?\s?\d|MS\s?-?\d)\b(?!\s+(?:NOT|and|view|film|chest|projection))"
)
_TITLE = re.compile(
    r"(?<![\w.-])(?:(?i:drs?|mrs?|ms|prof)\.|Drs?|Mrs?|Ms|Miss|Mx|Prof|Professor|Doctor|DRS?|MRS|PROF|PROFESSOR|DOCTOR|dr|Nurse|Sister|RN|NP|Sra?\.|Srta\.?|Herr|Frau|Mme|Madame|Monsieur|Captain|Capt\.?|Sergeant|Sgt\.?|Rev\.|Reverend|Rabbi)(?=[\s.A-Z])\s*"
)
_BY = re.compile(
    r"\b(?i:(?:signed|dictated|transcribed|interpreted|read|reported|reviewed|authenticated|verified|approved|finali[sz]ed|attested|"
    r"authori[sz]ed|typed|entered|performed|requested|ordered|referred|created|validated|released|checked|supervised|electronically|"
    r"prepared|completed|edited|generated|countersigned|co-?signed|over-?read|witnessed|examined|called|seen|placed|inserted|issued|recorded|acquired|taken|"
    r"submitted|sent|phoned|written|accompanied|brought\s+in|escorted|proofread|corrected|amended)"
    r"(?:\s+(?:off|electronically|and\s+\w+|&\s*\w+|/\s*\w+))?(?:\s+(?:on\s+)?[\d/:.,-]+(?:\s?[ap]\.?m\.?)?){0,3}\s+by)\s*:?\s*|(?<!\w)/s/\s*|\b(?i:d|s|r)/[wW]\s+|\b(?i:discussed|reviewed|spoke|agree)\s+w/\s*"
)
_LABEL = re.compile(
    r"\b(?i:(?:attending|referring|ordering|reading|reporting|interpreting|requesting|consulting|supervising|staff|primary\s+care|performing"
    r"|dictating|signing)(?:\s+(?:physician|radiologist|doctor|provider|clinician|consultant|practitioner|md|resident|surgeon|nurse|technologist))?(?:\s+(?:name|signature|initials))?"
    r"|(?:radiologists?|technologists?|physician)\s+(?:interpretation|name|signature|initials|of\s+record)|surgeon|registrar|intern|reader|reviewer|radiologists?|resident|fellow|"
    r"technologist|tech|radiographer|consultant|transcriptionist|(?:patient(?:'?s)?\s+)?(?:full\s+|last\s+|first\s+|sur|family\s+|given\s+)?name"
    r"|patient|pt|physician|referrer|cc|attn|attention|next\s+of\s+kin|mother|father|spouse|guardian|husband|wife|emergency\s+contact|contact\s+person|contact|re|aka|a\.k\.a\.|n[ée]e|maiden\s+name|(?:dictat|transcrib|report|sign|verify|review|read|refer|interpret)(?:ing|er|or)|dear|from|to|operator|nurse|name\s+of\s+(?:the\s+)?patient|insured|subscriber|guarantor|beneficiary|dictated|signed|signature|author|copy\s+to)\s*:\s*"
)
_TALK = re.compile(
    r"\b(?i:discussed|communicated|conveyed|relayed|reported|called|telephoned|paged|notified|informed|spoke|told|faxed|phoned|texted|"
    r"reviewed|conferred|contacted)\b"
)
_TO = re.compile(
    r"\b(?:with|to|by|notified|informed|paged|called|telephoned|told|contacted|phoned)\s+(?=[^\W\d_])"
)
_PATIENT = re.compile(
    r"(?i:\b(?:patient|pt|client|veteran|inmate|decedent|employee|student),?)\s+(?=[A-Z][^\W\d_]+\s+[A-Z])"
)
_KIN = re.compile(
    r"\b(?i:(?:grand|step|god)?(?:daughter|son|mother|father|mom|dad)(?:[-\s]in[-\s]law)?|wife|husband|brother|sister|niece|nephew|aunt|uncle"
    r"|cousin|partner|spouse|fianc[eé]e?|boyfriend|girlfriend|caregiver|carer|guardian|neighbou?r|roommate|friend)"
    r"(?:\s+(?:of\s+(?:the\s+)?(?:pt|patient)|is|named|called))?(?:,|:)?\s*[(]?(?<=[\s(])(?=[A-Z][a-z])"
)
_STAFF = re.compile(
    r"\b(?i:(?:baby|infant|newborn|b/?o)\s+(?:boy|girl)|aka|a\.k\.a\.|née)\s+(?:(?i:of)\s+)?(?=[A-Z])|"
    r"\b(?:(?:[Nn]urse|NURSE)\s+[Pp]ractitioner|[Pp]hysician(?:'s)?\s+[Aa]ssistant|[Cc]harge\s+[Nn]urse|[Rr]esident|[Ii]ntern|[Ff]ellow|[Rr]egistrar|[Rr]adiologist"
    r"|[Tt]echnologist|[Rr]adiographer|[Ss]urgeon|[Hh]ospitalist|[Pp]aramedic|[Mm]idwife|[Tt]herapist|[Pp]hysician|[Dd]octor|[Cc]onsultant|[Aa]ttending|house\s+officer"
    r"|[Cc]oordinator|[Ss]ecretary|nurse|team\s+member|named|name\s+is|[Aa]tt(?:entio)?n\.?(?:\s+of)?|(?i:emergency\s+contact|next\s+of\s+kin|contact\s+person))(?:,|\s+on\s+call,?)?\s+[(]?(?=[A-Z][^\W\d_]*[a-z.])"
)
_AWARE = re.compile(
    r"(?<![\w'’-])(?=[A-Z])(?P<x>[^\W\d_][\w'’-]+(?:\s+(?:[A-Z]\.?\s+)?[A-Z][\w'’-]+)?)\s+(?:(?:was|were|is|has\s+been|have\s+been)\s+(?:both\s+)?(?:notified|informed|paged|aware|made\s+aware|told|phoned|telephoned|contacted)|notified|paged|acknowledged|aware|read\s+back)\b"
    r"|(?<![\w'’-])(?<![\w.] )(?P<y>(?:[A-Z][\w'’-]+|[A-Z]\.)\s+(?:[A-Z]\.\s+)?[A-Z][\w'’-]+)\s+(?:agrees|concurs|concurred|has\s+(?:personally\s+)?(?:reviewed|read|seen)|attests|supervised|dictated)\b"
)
_SELF = re.compile(r"\bI,\s+(?=[A-Z])")
_LETTER = re.compile(
    r"\b(?i:sincerely|(?:kind|best|warm)\s+regards|regards|yours\s+truly|yours\s+faithfully|respectfully|dear|(?:for|thank\s+you\s+for)\s+(?:referring|seeing))\b,?\s*(?=[A-Z])"
)
_LEFT = re.compile(r"\b(?i:message|voice\s?mail)\s+(?:was\s+)?(?:left\s+)?(?:for|with)\s+(?=[A-Z])")
_CARET = re.compile(
    r"(?<![\w^])[^\W\d_][\w'’ -]{0,60}\^[^\W\d_][\w'’. -]{0,60}?(?:\^[\w.]{0,60}){0,4}(?=[^\w'’.^-]|$)"
)
_ANY_LABEL = re.compile(
    r"\b(?i:sign\w*|dictat\w*|transcri\w*|radiologists?|technologists?|physicians?|doctor|consultant|nurse|author\w*|rt|report\w*)(?:[ \t]+\w+){0,3}[ \t]*:\s*(?=[A-Z][\w.'’-]*,?[ \t]+[A-Z])"
)
_ALONE = re.compile(
    r"(?m)^[ \t]*(?P<x>[A-Z][\w'’-]+(?:[ \t]+[A-Z]\.)+[ \t]+[A-Z][\w'’-]+|[A-Z][\w'’-]+,[ \t]+[A-Z][\w'’-]+[ \t]+[A-Z]\.)[ \t]*$"
)
_USER = re.compile(
    r"\b(?i:(?:[a-z-]+ed\s+by|technologist|tech|radiographer|transcriptionist|transcribing|transcriber|typist|operator|user(?:\s?name|\s?id)?|login|initials))\s*:\s*"
    r"(?P<x>[a-z]{2,}\d{1,4}|[a-z]{3,}(?:[._][a-z]+)?(?=\s*(?:$|[\n,;]|(?:on\s+|at\s+)?\d)))"
)
_INITIALS = re.compile(
    r"\b(?i:(?:(?:dicta|transcri|ty|sign|repor|verifi|appro|ente|revie|chec|edi)[a-z]*ed|read)(?:\s+[\d/:.-]+){0,2}\s+by|initials|transcriptionist|typist|tech(?:nologist)?\s*:|radiographer\s*:)\s*:?\s*"
    r"(?P<x>[A-Z]{2,4})(?=\s*(?:$|[\n.,;)]|(?:on\s+|at\s+)?\d))"
    r"|(?:^|[\n.;][ \t]*)(?P<y>[A-Z]{2,4}\s?[/:]\s?[a-z]{2,4}|[A-Z]{2,3}:[A-Z]{2,3})(?=\s*(?:$|\n|[-;,]?\s*(?:\d{1,4}[-/]\d|\d{6}|_|[DT]:|(?i:job|dict))))"
)
_SPECIALTY = re.compile("(?:ology|ologist|iatrics?|iatry|iatrician|surgery|surgeon)s?$", re.IGNORECASE)
_PARTICLED = re.compile(r"[a-z]{1,3}[-'’][A-Z]")
_LABEL_END = re.compile(r"[ \t]*:")
_AND = re.compile(
    r"(?:,?\s*(?:M\.?D\.?|D\.?O\.?|RN|NP|PA-C|PhD))?\s*(?:[;,&/]|\band\b)\s*(?:(?i:and|drs?\.?)\s+)?(?=[A-Z])"
)
_FIELD = re.compile("(?:ology|opathy|surgery|ition|ation|itis|emia|osis|team|staff|desk|care)$")
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
    for found in _ANY_LABEL.finditer(text) if ":" in text else ():
        if (span := person(text, found.end(), most=4, comma=True)) and re.search(
            r"[\s.]", text[slice(*span)]
        ):
            yield Found(*span, "name")
    labels = (_LABEL,) if ":" in text else ()
    for pattern in (_BY, _PATIENT, _KIN, _STAFF, _SELF, _LETTER, _LEFT, *labels):
        for found in pattern.finditer(text):
            yield from _listed(text, found.end())
    yield from _whole(text)
    yield from _talked(text)


def _talked(text: str) -> Iterator[Found]:
    """Names of those who were told, and of those with a degree."""
    for talk in _TALK.finditer(text):
        until = talk.start() + _TALK_WITHIN
        if stop := _CLAUSE.search(text, talk.end(), until):
            until = stop.start()
        for found in _TO.finditer(text, talk.start(), until):
            for name in _listed(text, found.end(), comma=False):
                if not text[name.start : name.end].isupper():
                    yield name
    for found in _CREDENTIAL.finditer(text):
        if span := _before(text, found.start()):
            yield Found(*span, "name")


def _listed(text: str, at: int, *, comma: bool = True) -> Iterator[Found]:
    """Names one after another: "Jane Doe MD; R. Roe and J. Smith"."""
    more: re.Match[str] | None = None
    while span := person(text, at, most=4, comma=comma):
        if more and not text[span[0] : span[1]].count(" "):
            return  # "X and Surgery" names a department
        yield Found(*span, "name")
        more = _AND.match(text, span[1])
        if more is None:
            return
        at = more.end()


def _whole(text: str) -> Iterator[Found]:
    """Names that a pattern spells whole: signatures, initials, users, names of a header."""
    for found in _CARET.finditer(text) if "^" in text else ():
        yield Found(*found.span(), "name")
    for pattern in (_ALONE, _AWARE):
        for found in pattern.finditer(text):
            group = found.lastgroup or "x"
            words = re.findall(r"[^\W\d_][\w'’-]*", found[group])
            known = any(_is_stop(w) or (w.isupper() and len(w) > 1) for w in words)
            if not known and not _FIELD.search(words[-1]):
                yield Found(*found.span(group), "name")
    for found in _USER.finditer(text) if ":" in text else ():
        if found["x"] not in NO_NAME:
            yield Found(*found.span("x"), "name")
    for found in _INITIALS.finditer(text):
        group = "x" if found["x"] else "y"
        parts = re.split(r"\s?[/:]\s?", found[group].casefold())
        if not any(part in NO_INITIALS or part in NO_NAME for part in parts):
            yield Found(*found.span(group), "name")


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
        if word.isupper() and word.rstrip(".").casefold() in NO_INITIALS:
            break
        if re.search(f"[{CJK}]", word) or is_hole(word) or _is_stop(word, text[found.end() :][:1]):
            break
        if _SPECIALTY.search(word) or (count and _LABEL_END.match(text, found.end())):
            break
        if word[0].isupper() or _PARTICLED.match(word) or (lower and count == 0 and len(word) > 2):
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
    family = re.search(
        r"(?:^|[\s:;])([A-Z][\w'’-]+),[ \t]+$", text[max(0, at - 120) : base + words[first].start()]
    )
    if family and not _is_stop(family[1]) and len(words) - first <= 2:
        return base + words[first].start() - len(family[0]) + family.start(1) - family.start(), base + words[
            -1
        ].end()
    return base + words[first].start(), base + words[-1].end()
