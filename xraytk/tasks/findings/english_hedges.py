"""English words that make a finding uncertain: "likely", "unlikely", "suspicious for", "cannot be excluded".

What stands behind a hedge decides where it points: with a place, a reason or nothing behind it, it
speaks of what is before ("pneumonia is possible in the left base"), else of what comes.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

from collections.abc import Sequence

from xraytk.tasks.findings.rules import Cue, Rule

_HERE = (
    r"(?:(?:in|on|at|within|over|involving|along|near|throughout|behind|of|projecting over|overlying) "
    r"(?:(?:the|both|this|that|these|each|either|its|and|or|\w*medial|\w*lateral|anterior|posterior|upper|lower|"
    r"mid|middle|lung|left|right|l|r|extreme|far|inferior|superior|peripheral|central|\w+(?:th|st|nd|rd)|"
    r"\w*phrenic|retrocardiac|peri_?hilar|same|other|opposite|contralateral|entire|major|minor|several) )*"
    r"(?:lobes?|lungs?|base|bases|apex|apices|sides?|hemithora\w+|fields?|zones?|regions?|areas?|"
    r"(?:left|right)(?=\s*(?:[.,;)]|$)|\s(?:and|or|but|with|than)\b)|"
    r"segments?|angles?|sulc\w+|hil\w+|fissures?|lingula|mid_?lungs?|[lr][uml]l|ribs?|clavicles?|scapula|"
    r"vertebra\w*|spine|sternum|humerus|thorax|chest|l|r|t\d+|views?|films?|image|radiograph|study|exam\w*|"
    r"patient|setting|context)|bilateral(?:ly)?|bi_?basally|here|today|now|again|currently|given|as well|too)"
)
"""Where, when or why something is thought to be, behind a hedge that speaks of what is before."""

HEDGES: Sequence[Rule] = [
    Cue(
        "uncertain",
        "auto",
        r"(?:can_not|could not|can't|couldn't|may not|unable to|difficult to|hard to|"
        r"not possible to|impossible to|does not|do not|not) (?:be )?(?:(?:entirely|completely|"
        r"definitely|definitively|totally|confidently|reliably|fully|absolutely|"
        r"yet) )*(?:be )?(?:(?:entirely|completely|definitely|definitively|totally|confidently|"
        r"fully) )*(?:exclu\w+|rule[ds]? out|ruled|discount\w*)(?: out)?",
    ),
    Cue("uncertain", "both", r"(?:can_not|could not) be (?:differentiated|distinguished)(?: from)?"),
    Cue("uncertain", "back", r"not (?:un|in)likely|(?:not|less) likely(?=\s*[.,;)]|$)"),
    Cue("uncertain", "ahead", r"not without|with or without|less likely|much less likely"),
    Cue(
        "uncertain",
        "back",
        r"(?:may|might|could) (?:also )?(?:be (?:present|seen|there|considered|suspected|possible"
        r"|missed|overlooked|hidden|obscured|also present|partially present)|exist|persist|remain"
        r"|have (?:developed|occurred))",
    ),
    Cue(
        "uncertain",
        "back",
        r"(?:(?:is|are|remains?|also|be|was|were|seems?|thought) (?:also |most |more |very |"
        r"felt )*)?(?:possible|likely|probable|suspected|questionable|questioned|favou?red|"
        r"unlikely|doubtful|a possibility|a consideration|a concern|a possible \w+|considered|"
        r"suggested|equivocal|indeterminate|uncertain"
        r"|in the differential(?: diagnosis)?)(?=\s*[.,;)]|$| but)",
    ),
    Cue(
        "unsaid",
        "back",
        r"(?:is|are|was|were|remains?) (?:clinically (?:suspected|considered|questioned)|(?:suspected|"
        r"considered|questioned|possible|likely) clinically)",
    ),
    Cue(
        "uncertain",
        "both",
        r"(?:is|are) (?:somewhat |slightly |much )?(?:favou?red over|preferred (?:over|to))",
    ),
    Cue(
        "uncertain",
        "both",
        r"(?:is|are|seems?) (?:somewhat |slightly |much )?(?:more|less) (?:likely|probable) than",
    ),
    Cue(
        "uncertain",
        "either",
        r"(?:(?<!tip\s)(?<!tube\s)(?<!line\s)(?<!lead\s)(?<!drain\s)(?<!catheter\s)"
        r"(?:is|are|remains?|be|was|were|seems?) (?:also |most |more |very |still |again |felt )*(?:"
        r"likely|probable|unlikely|doubtful|favou?red|uncertain|equivocal|suggested)|(?:(?:is|are|remains?|also|"
        r"be|was|were|seems?) (?:also |still |again )*)?(?:suspected|possible|questionable|questioned|"
        r"considered))(?= " + _HERE + r"(?!\w))",
    ),
    Cue("uncertain", "beside", r"versus|vs\.?"),
    Cue("uncertain", "ahead", r"=(?<![a-z])\? ?(?=[a-z])"),
    Cue("uncertain", "before", r"=\?"),
    Cue(
        "unsaid",
        "ahead",
        r"(?:may|might|could|would|can|potentially) (?:also )?(?:obscur\w+|mask\w*|hide|mimic\w*"
        r"|simulat\w+)|mimic\w*|simulat\w+",
    ),
    Cue(
        "uncertain",
        "ahead",
        r"may|might|could|possib(?:le|ly|ility of|ility)|prob(?:able|ably|ability of)|(?:most |"
        r"very )?likely|presum(?:ed|ably|ptive)|question(?:able|ably|ed)?(?: of)?|suspect(?:ed|"
        r"s)?|suspicion (?:of|for)|suspicious (?:for|of)"
        r"|concern(?:ing|ed)?(?: for| of| about)|worrisome (?:for|of)|worry for|suggest(?:s|ing|"
        r"ive|ion|ions|ed|ive of)?(?: of)?|perhaps|doubt|equivocal|potential(?:ly)?|conceivabl[ey]|"
        r"favou?r(?:s|ed|ing)?|unlikely|unlikely to be|"
        r"differential(?: diagnosis)?(?: \w+)?(?: includes?)?|considerations? includes?|consider|"
        r"seems? to be|thought to be|hint of|vs|argues? against|doubtful|rais(?:es|"
        r"ing) (?:the )?(?:question|possibility|concern)(?: of| for)?|unclear (?:if|whether)|"
        r"indeterminate for|borderline",
    ),
]
