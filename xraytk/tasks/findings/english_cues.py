"""English words that judge organs, that change what a finding says, and that shape a sentence.

Hedges (`english_hedges`) and "A or B" are uncertain, "consistent with" is present; "nearly resolved" is
uncertain; what one looks for, rules out or has had says nothing.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

from collections.abc import Sequence

from xraytk.tasks.findings.english_hedges import HEDGES
from xraytk.tasks.findings.rules import Cue, Mark, Quality, Rule

_SEEN = (
    r"(?:seen|identified|visuali[sz]ed|detected|demonstrated|appreciated|noted|present|"
    r"evident|apparent|observed"
    r"|found|visible|shown|discerned|discernible|recogni[sz]ed|suspected|suggested|confirmed)"
)
_ADVERB = r"(?:(?:\w+ly|well|quite|really|currently|now|yet|as|so) )"
_CHANGE = (
    r"(?:changes?|increase|decrease|improvement|progression|worsening|difference|growth|interval change"
    r"|alteration)"
)

_ANY = frozenset({"heart", "mediastinum", "lungs", "angles", "pleura", "bones"})
_SIZED = frozenset({"heart", "mediastinum"})
QUALITIES: Sequence[Rule] = [
    Quality(
        -1,
        _SIZED,
        r"borderline(?: (?:enlarged|prominent|in size|large|size|enlargement))?|(?:mildly |"
        r"somewhat |slightly )?prominen(?:t|ce)|full(?:ness)?",
    ),
    Quality(
        0,
        _ANY,
        r"(?:with )?(?:(?:within|at|in|near|on) )?(?:the )?(?:(?:upper|"
        r"high) )?(?:limits? of normal|(?:limits?|range) (?:of )?normal|normal limits?|"
        r"normal range)(?: limits)?|top normal|upper normal|high normal|normal",
    ),
    Quality(0, _ANY, r"unremarkable|non_?enlarged"),
    Quality(
        1, _ANY, r"abnormal|abnormalit\w+|disease|process\w*|findings?|pathology|change", only_absent=True
    ),
    Quality(0, frozenset({"lungs", "pleura", "angles"}), r"clear(?! of| out)"),
    Quality(0, frozenset({"angles"}), r"sharp|preserved|well defined|crisp|not blunted"),
    Quality(0, frozenset({"bones", "angles"}), r"intact"),
    Quality(0, frozenset({"pleura"}), r"smooth"),
    Quality(
        1,
        _SIZED,
        r"enlarge[ds]?|enlargement|enlarging|larger than normal|dilated|globular|"
        r"increased in size|(?:large|increased|big)(?=\s*$|\s*[.,;)]| (?:in|but|and|for|heart|cardiac))",
    ),
    Quality(1, frozenset({"mediastinum"}), r"wide(?:ned|ning)?|broad(?:ened)?"),
    Quality(
        1, frozenset({"angles"}), r"blunt(?:ed|ing)?|obscur(?:ed|ation)|obliterated|hazy|indistinct|effaced"
    ),
    Quality(1, frozenset({"pleura"}), r"thickened|calcified|irregular"),
]

FIRST: Sequence[Rule] = [
    # neither yes nor no
    Cue(
        "present",
        "ahead",
        r"no (?:(?:significant|interval|appreciable|substantial|definite|obvious|major|relevant|"
        r"real|acute|notable|marked|evidence of|radiographic|further|short|visible|suggestion of|"
        r"particular) )*" + _CHANGE + r"(?: (?:in|of|to|from|since|within))?",
    ),
    Cue(
        "present",
        "ahead",
        r"(?:without|not) (?:any )?(?:(?:significant\w*|interval|appreciabl[ey]|substantial\w*|"
        r"definite\w*|much|marked\w*|convincing\w*|clearly) )*(?:"
        + _CHANGE
        + r"|changed|different|increased|decreased|improved|worse\w*|progressed|larger|"
        r"smaller)(?: (?:in|of|to|from|since))?",
    ),
    Cue(
        None,
        "ahead",
        r"no (?:more than|doubt|larger|smaller|worse|bigger)|not only|no (?:prior|previous|"
        r"comparison)s?(?: \w+)?",
    ),
    Cue(
        None,
        "back",
        r"not (?:\w+ )?(?:well|fully|completely|optimally|adequately|entirely|clearly) "
        + _SEEN
        + r"|not (?:included|evaluated|assessed|imaged|resolved|yet resolved|fully resolved)",
    ),
    Cue(
        None,
        "back",
        r"(?:partial(?:ly)?|incomplete(?:ly)?|not(?: yet| fully| completely| entirely)?|"
        r"un)_(?:resol\w+|clear(?:ed|ing))(?: of)?",
    ),
    Cue(None, "back", r"not (?:\w+ )?" + _SEEN + r" on (?:the )?(?:lateral|frontal|pa|ap|other)"),
    Cue(None, "back", r"age (?:is )?_?indeterminate"),
    Cue(None, "back", r"tips? (?:\w+ ){0,4}not (?:\w+ )?" + _SEEN),
]
"""Cues that go before the terms: some hold a word that is one."""

CUES: Sequence[Rule] = [
    Cue(
        None,
        "ahead",
        r"c/w|(?:consistent|compatible|in keeping|in line|associated|concordant) with|represent(?:s|"
        r"ing)?|reflect(?:s|ing)?|indicat(?:es|ing|ive of)|diagnostic of|characteristic of|"
        r"typical of",
    ),
    Cue("unsaid", "back", r"(?:may|might|could) not be (?:" + _ADVERB + r")?" + _SEEN),
    *HEDGES,
    # nothing said
    Cue(
        "unsaid",
        "ahead",
        r"(?:family |past |prior |known |clinical |medical |remote )*(?:history|hx)(?: of)?|h/o|"
        r"(?:clinical|clinically)(?: \w+){0,2} (?:concern|suspicion|question|suspected|"
        r"history)(?: (?:for|of))?",
    ),
    Cue(
        "unsaid",
        "ahead",
        r"(?:evaluat\w+|assess\w*|look\w*|search\w*|screen\w*|check\w*|monitor|watch|"
        r"survey)(?: \w+)? for|rule out|ruling out|r/o|to (?:better |confidently |definitively |"
        r"further )?(?:exclude|rule out|assess|evaluate for)|exclude|for exclusion of",
    ),
    Cue(
        "unsaid",
        "ahead",
        r"if|(?:to|until|and|for|should)(?: \w+)? (?:document|ensure|confirm|demonstrate|"
        r"establish|verify|complete|radiographic)?(?: \w+){0,2} (?:resolution|clearing|"
        r"clearance)(?: of)?|follow_?up (?:of|for)|f/u(?: of)?|treat(?:ed|ment) (?:for|of)|"
        r"therapy for|risk (?:of|for|factors? for)|correlat\w+(?: \w+){0,3} (?:for|"
        r"with)(?: \w+)? (?:signs?|symptoms?|evidence)(?: of)?|correlat\w+(?: \w+){0,2} for",
    ),
    Cue(
        "unsaid",
        "ahead",
        r"status post (?:resection|excision|treatment|ablation|lobectomy|radiation|"
        r"surgery)(?: (?:of|for))|(?:limit\w*|reduc\w+|decreas\w+|"
        r"low) (?:the )?(?:\w+ )?(?:evaluation|assessment|sensitivity|detection)(?: (?:of|for))|"
        r"sensitivity for|limited for",
    ),
    # present no longer
    Cue(
        "uncertain",
        "either",
        r"(?:nearly|near|almost|essentially|virtually|practically|largely)(?: (?:complete(?:ly)?|"
        r"total(?:ly)?|interval))? (?:resol(?:ved|ution)|clear(?:ed|ing)|gone)(?: of)?",
    ),
    Cue(
        "absent",
        "ahead",
        r"(?:interval |complete |full |total |subsequent )*(?:resolution|clearance|clearing|"
        r"disappearance|absence) (?:of|in)",
    ),
    Cue(
        "absent",
        "either",
        r"resolved|disappeared|(?:has|have)(?: now| since| completely| fully)? cleared|"
        r"completely cleared|no longer (?:\w+ )?" + _SEEN + r"|no longer(?=\s*[.,;]|$)",
    ),
    Cue("gone", "before", r"(?:removal|withdrawal|explantation)(?! of)"),
    Cue(
        "gone",
        "ahead",
        r"(?:interval |subsequent |status post |prior |previous |recent )*(?:removal|withdrawal|"
        r"explant\w*|discontinuation) of",
    ),
    Cue(
        "gone",
        "either",
        r"(?:(?:has|have|had|was|were|is|are|been|now|since|interval(?:ly)?|subsequently|"
        r"previously|both) )*(?:removed|withdrawn|taken out|discontinued|pulled|explanted)",
    ),
    # absent
    Cue(
        "absent",
        "back",
        r"not (?:"
        + _ADVERB
        + r"){0,2}"
        + _SEEN
        + r"|absent|ruled out|excluded|(?:is|are|was|were) negative|gone",
    ),
    Cue("absent", "back", r"=: *(?:none|no|absent|negative|nil)(?=\s*[.,;]|$)"),
    Cue(
        "absent",
        "ahead",
        r"no longer|no (?:\w+ )?(?:evidence|signs?|indication|suggestion|suspicion|finding|"
        r"findings|features?|stigmata|convincing|definite)(?: (?:of|for|to suggest|suggesting|"
        r"suggestive of|that|concerning for|suspicious for))?|no|not|nor|neither|none|"
        r"(?:without|w/o)(?: \w+ evidence)?(?: evidence)?(?: of)?|absence of|absent"
        r"|negative for|(?:grossly )?(?:free|clear) (?:of|from)|den(?:ies|ied|ying)|lack(?:s|"
        r"ing)?(?: of)?|fail(?:s|ed|ure)? to (?:show|demonstrate|reveal|identify)"
        r"|nothing(?: to (?:suggest|indicate))?|rather than|instead of|excludes?|rules? out|never"
        r"|devoid of|unaccompanied by",
    ),
    Cue("uncertain", "ahead", r"uncertain|possibilities include"),
]

MARKS: Sequence[Rule] = [
    Mark("or", r"and/or|or"),
    Mark("or", r"=(?<=[a-z][a-z])/(?=[a-z])"),
    Mark(
        "stop",
        r"but(?! (?:(?:are|is|remain|otherwise|grossly) )*(?:clear|normal|unremarkable)(?:\W*$|[.,;]))"
        r"|however|although|though|except(?:ing)?(?: for)?|(?:aside|apart) from|other than|"
        r"with the exception of|with|whereas|while|yet|nevertheless|in addition to|in addition|"
        r"beyond|besides",
    ),
    Mark("stop", r"=[;]| [-\u2013\u2014]+ "),
    Mark(
        "fence",
        r"after|following|status post|s/p|despite|given|in the setting of|superimposed (?:on|"
        r"upon)|adjacent to|secondary to|due to|because of|related to|from|behind|overlying|"
        r"in the (?:region|area) of|at the site of|since|prior to",
    ),
    Mark(
        "verb",
        r"is|are|was|were|has|have|had|remains?|appears?|shows?|demonstrates?|persists?|"
        r"there(?: is| are)|will|do(?:es)?",
    ),
    Mark(
        "steady",
        r"stable|unchanged|persist\w*|again|enlarged|clear|intact|increas\w+|decreas\w+|improv\w+|"
        r"worse\w*|in (?:place|position|situ)|similar|larger|smaller|unremarkable|chronic|"
        r"terminat\w+|project\w+|overl\w+",
    ),
    Mark("pause", r"=[,()]"),
    Mark("pause", r"and|plus|as well as"),
]
