"""The English rules.

Decisions where usage differs, CheXpert's practice unless said otherwise:
hedges ("likely", "probable", "suspicious for", "unlikely") are uncertain, "consistent with" is
present; a calcified granuloma alone is no Lung Lesion, a calcified nodule is; scars and more
interstitial markings are Lung Opacity; vascular congestion is an indirect sign of Edema; heart
failure is Edema, and Cardiomegaly uncertain; a blunted angle is an uncertain sign of effusion, a
sharp one a sign of none (ours); a compression deformity is an uncertain sign of Fracture (ours), a
healed fracture is a Fracture; wires, clips, valves, stents and plates are Support Devices (ours).

In a pattern, a blank stands for blanks or hyphens, an underscore for blanks, hyphens or nothing.
Words end where the pattern ends, unless it begins with "=".

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from xraytk.tasks.findings.rules import Cue, Mark, Organ, Quality, Rule, Rules, Says, Term, Token

ECM, HEART, OPACITY, LESION = "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"
EDEMA, CONSOLIDATION, PNEUMONIA, COLLAPSE = "Edema", "Consolidation", "Pneumonia", "Atelectasis"
AIR, FLUID, PLEURA, FRACTURE, DEVICE = (
    "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip

_NO = frozenset({0})
_FAILURE = (Says(EDEMA), Says(HEART, -1, sign=True, keep=frozenset({-1})))

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

NONE: Sequence[Rule] = [
    Term((), pattern)
    for pattern in (
        r"(?:(?:pericardial|joint|knee|elbow|shoulder|hip|glenohumeral) )+(?:(?:and|"
        r"or) )?effusions?",
        r"(?:soft tissue|subcutaneous|peripheral|pedal|leg|ankle|lower extremity|cerebral|"
        r"laryngeal) o?edema",
        r"(?:thyroid|breast|abdominal|adrenal|renal|hepatic|soft tissue|liver|pelvic|chest wall|"
        r"hilar lymph)"
        r" (?:nodules?|mass(?:es)?|lesions?|carcinoma|cancer)",
        r"(?:(?:bon[ey]|osseous|skeletal|lytic|sclerotic|blastic|destructive|skin|vertebral|"
        r"spinal|rib)"
        r"(?: (?:or|and|or sclerotic|or blastic|or lytic) )?[ /]*)+"
        r"(?:lesions?|mass(?:es)?|metasta\w+|malignancy|densit\w+|opacit\w+|neoplasm)",
        r"(?:bone|bony|bone mineral|breast|calcific|calcified|metallic|metal|mineral|osseous|"
        r"vascular"
        r"|barium|contrast) densit(?:y|ies)",
        r"mass effect|body mass|lean mass|muscle mass",
        r"(?:old |prior |previous |chronic |remote )?granulomatous (?:infections?|disease)",
        r"nipple (?:shadows?|markers?)|nipples?",
        r"(?:urinary|tract|wound|sinus|line|device|skin) infections?",
        r"(?:vertebr\w+|body|endplate|end plate|height)(?: body)? collapse",
        r"pleural lines?|(?:fissur\w+|paratracheal|paraspinal|junction|mid|psoas|fat) lines?",
        r"leads? (?:to|fracture|displacement|malposition)|valv\w+ (?:calcification|disease|"
        r"stenosis)s?",
        r"(?:septal|b|interstitial|reticular|growth|tram|suture) lines?|breast (?:implants?|"
        r"prosthes\w+)",
        r"plate_like|portable|support(?: the)? diagnosis",
        r"(?:renal|kidney|hepatic|heart valve|liver) failure|failure to",
        r"chronic obstructive[\w ]{0,24}disease",
        r"skin folds?|scarring of the (?:skin|soft tissues)",
        r"fracture (?:clinic|risk|protocol)",
        r"infection control|post infectious",
    )
]

TERMS: Sequence[Rule] = [
    # heart and mediastinum
    Term(
        (Says(HEART, -1),),
        r"borderline(?: (?:heart|cardiac))?(?: \w+)? (?:cardiomegaly|heart size|"
        r"cardiac enlargement|enlarged heart)",
    ),
    Term(
        (Says(HEART),),
        r"cardio_?megal\w*|(?:cardiac|heart|biventricular|(?:left|right) (?:ventricular|"
        r"heart)) enlargement",
    ),
    Term(
        (Says(HEART),),
        r"cardio_?thoracic ratio(?: \w+){0,3} (?:0?\.(?:5[1-9]|[6-9]\d?)|(?:5[1-9]|[6-9]\d)_%?)",
    ),
    Term(
        (Says(HEART, 0),), r"cardio_?thoracic ratio(?: \w+){0,3} (?:0?\.(?:[1-4]\d?|50?)|(?:[1-4]\d|50)_%?)"
    ),
    Term((Says(HEART),), r"cardio_?thoracic ratio(?: \w+){0,2} (?:increased|enlarged|elevated)"),
    Term(
        (Says(ECM),),
        r"(?:(?:superior|anterior|upper|middle|posterior) )?mediastinal (?:widening|enlargement|"
        r"mass(?:es)?)|wide mediastinum",
    ),
    # named in two ways
    Term((Says(AIR), Says(FLUID)), r"(?:hydro|ha?emo)_?pneumo_?thora(?:x|ces)"),
    Term(
        _FAILURE,
        r"(?:congestive )?(?:heart|cardiac) failure|chf|(?:cardiac )?decompensation|"
        r"congestive failure",
    ),
    Term(
        (Says(LESION), Says(OPACITY)),
        r"(?:nodular|mass_?like|cavitary|reticulo_?nodular|rounded|round)(?: and \w+)?"
        r" (?:\w+ )?(?:opacit\w+|opacification|densit\w+|infiltrat\w+|airspace disease|"
        r"interstitial opacit\w+|consolidation)",
    ),
    Term(
        (Says(PLEURA), Says(OPACITY)),
        r"pleur(?:o|al)(?: and |[ /-]*)parenchymal (?:scar\w*|fibrosis|opacit\w+|thickening|"
        r"changes?|densit\w+)",
    ),
    Term(
        (Says(PNEUMONIA), Says(OPACITY)),
        r"(?:pneumonic|infectious|inflammatory) (?:infiltrat\w+|opacit\w+|airspace disease)",
    ),
    # pleura
    Term((Says(FLUID),), r"pleural (?:and|or|and/or|/) pericardial effusions?"),
    Term(
        (Says(FLUID, -1, sign=True),),
        r"blunt(?:ing|ed)(?: appearance)?(?: (?:of|in|at))?(?: \w+){0,4}? (?:(?:costo_?phrenic|cp|"
        r"costodiaphragmatic)"
        r"(?: (?:angles?|sulc\w+|recess\w*|sinus\w*|xxxx))?|(?:posterior |lateral )?sulc\w+|"
        r"(?:cp )?angles?|recess\w*|pleural space)",
    ),
    Term(
        (Says(FLUID),),
        r"(?:sub_?pulmonic |pleural )?effusions?|pleural (?:\w+ )?(?:fluid|collections?|effusive)|"
        r"(?:hydro|ha?emo|chylo|pyo)_?thora(?:x|ces)|empyemas?"
        r"|fluid (?:with)?in(?: \w+){0,3} (?:fissures?|pleural space|hemithorax)|(?:layering|"
        r"loculated|fissural) (?:pleural )?fluid|costophrenic fluid",
    ),
    Term((Says(AIR),), r"(?:tension )?pneumo_?thora(?:x|ces)|ptx|pleural (?:air|gas)(?: collections?)?"),
    Term(
        (Says(PLEURA),),
        r"pleur(?:al|o)(?: (?:based|apical|basal|diaphragmatic|plaque))*(?: (?:or \w+|and \w+))??"
        r" (?:thicken\w*|plaqu\w+|calcif\w+|scar\w*|disease|abnormalit\w+|lesions?|mass(?:es)?|"
        r"reaction|fibrosis|densit\w+|nodul\w+|opacit\w+|tumou?rs?|changes?|process|adhesions?)",
    ),
    Term(
        (Says(PLEURA),),
        r"(?:bi_?)?apical (?:pleural |fibronodular )*(?:cap(?:s|ping)?|thickening)|fibro_?thorax|"
        r"mesothelioma|(?:fissur\w+|pleural?) thickening"
        r"|thicken(?:ing|ed)(?: of)?(?: the)?(?: \w+)? (?:fissures?|pleura)|calcified pleura",
    ),
    # bones
    Term(
        (Says(DEVICE),),
        r"fractur\w+(?: of)?(?: the)?(?: \w+){0,2} (?:wires?|screws?|leads?|hardware|rods?|"
        r"catheter|clips?)"
        r"|(?:broken|disrupted|displaced|fractured) (?:\w+ )?wires?",
    ),
    Term(
        (Says(FRACTURE, -1, sign=True),),
        r"(?:compression|wedge|wedging|wedge shaped|anterior wedge) deformit(?:y|ies)|wedg(?:ing|"
        r"ed) (?:of|vertebra\w*)|(?:vertebral )?compression (?:changes?|collapse)",
    ),
    Term(
        (Says(FRACTURE),),
        r"fractur\w*|fx|broken (?:ribs?|clavicle)|(?:rib|sternal|clavic\w+) (?:injur\w+|"
        r"dislocation)",
    ),
    Term(
        (Says(FRACTURE, sign=True, keep=_NO),),
        r"(?:bony|bone|osseous|skeletal)(?: (?:or|and) soft tissue)? (?:abnormalit\w+|findings?|"
        r"injur\w+|process\w*|trauma|deformit\w+|pathology)",
    ),
    # lungs
    Term(
        (Says(LESION),),
        r"nodul\w+|mass(?:es)?|(?:non_?calcified )?lesions?|tumou?rs?|neoplas\w+|carcinomas?|"
        r"malignan\w+|metasta\w+|cavit(?:y|ies|ation|ations|ary)|(?:lung|pulmonary) cancer|"
        r"lung abscess\w*|adenocarcinoma|mycetoma",
    ),
    Term(
        (Says(EDEMA, sign=True),),
        r"(?:vascular|venous|pulmonary|interstitial|pulmonary vascular|pulmonary venous|"
        r"central vascular|passive) congesti(?:on|ve changes?)|congesti(?:on|ve changes?)|"
        r"fluid overload|volume overload|overload",
    ),
    Term(
        (Says(EDEMA, -1, sign=True),),
        r"kerley(?: [ab])?(?: lines?)?|cephali[sz]ation|(?:pulmonary |vascular )+(?:engorgement|"
        r"redistribution|indistinctness|plethora)(?! (?:\w+ )?(?:within|is normal))|(?:pulmonary|"
        r"central|perihilar) vascular prominence|pulmonary venous hypertension|"
        r"peribronchial cuffing",
    ),
    Term((Says(EDEMA),), r"(?:interstitial |alveolar |pulmonary )*o?edema(?:tous changes?)?"),
    Term((Says(CONSOLIDATION),), r"consolidat\w+"),
    Term(
        (Says(PNEUMONIA),),
        r"(?:broncho_?)?pneumonias?|infections?|infectious(?: (?:process|etiolog\w+|disease|"
        r"changes?|focus|cause))?|infective(?: \w+)?",
    ),
    Term((Says(COLLAPSE),), r"atelect\w+|collaps(?:e|ed|ing)"),
    Term(
        (Says(OPACITY),),
        r"opacit\w+|opacif\w+|infiltrat\w+|air_?space(?: \w+)? (?:diseases?|process\w*|changes?|"
        r"abnormalit\w+)|air_?spaces? disease"
        r"|densit(?:y|ies)|haz(?:e|y|iness)|ground glass(?: \w+)?|white_?out|reticulation|"
        r"reticular(?: \w+)?|honeycombing|scar(?:s|red|ring)?|fibro(?:sis|tic)(?: (?:changes?|"
        r"disease|scarring))?"
        r"|parenchymal (?:diseases?|abnormalit\w+|process)",
    ),
    Term(
        (Says(OPACITY),),
        r"interstitial (?:lung )?(?:diseases?|changes?|thickening|prominence|pattern|process|"
        r"abnormalit\w+|fibrosis|coarsening|lung changes)",
    ),
    Term(
        (Says(OPACITY),),
        r"(?:increas\w+|prominen\w+|coarse\w*|accentuat\w+|thicken\w+|exaggerat\w+|chronic|"
        r"diffuse|heavy)(?: (?:of|in))?(?: \w+){0,3} (?:interstitial|"
        r"bronchovascular) (?:lung )?(?:markings?|interstitium|lines)"
        r"|(?:interstitial|lung|pulmonary) (?:markings? (?:are|is|appear) (?:\w+ )?(?:increased|"
        r"prominent|coarse\w*|accentuated))",
    ),
    # devices
    Term((Says(DEVICE, 0),), r"(?:interval(?:ly)? )?extubat\w+|decannulat\w+"),
    Term(
        (Says(DEVICE),),
        r"(?:(?:endotracheal|tracheal|et|ng|og|nasogastric|orogastric|enteric|feeding|chest|"
        r"thoracostomy|thoracotomy|pleural|drainage|nasoenteric|dobb?hoff|tracheostomy|gastric|"
        r"gastrostomy|pigtail|mediastinal|support) )*(?:tubes?|tubing|drains?|cannulas?|"
        r"catheters?)"
        r"|ett|ngt|tracheostom\w+|dobb?hoff|pigtails?|intubated",
    ),
    Term(
        (Says(DEVICE),),
        r"(?:(?:central|venous|arterial|picc|ij|jugular|subclavian|femoral|dialysis|iv|"
        r"intravenous|support|indwelling|internal|hickman|monitoring|ecg|ekg) )+(?:lines?|access|"
        r"sheath|wires?)|lines(?= and tubes)|lines|midline catheter"
        r"|picc|cvc|cvl|mediport|port_?a_?caths?|infus[ae]_?ports?|chest port|ports?|vas_?cath|"
        r"perm_?cath|swan_?ganz|introducer",
    ),
    Term(
        (Says(DEVICE),),
        r"(?:(?:cardiac|dual|single|bi|tri|chamber|lead|pacing|pacer) )*(?:pacemakers?|pacers?|"
        r"pace_?makers?|aicds?|icds?|defibrillators?|pulse generators?|generators?|loop recorder|"
        r"stimulators?)"
        r"|(?:(?:pacing|pacer|pacemaker|ecg|ekg|telemetry|monitor|monitoring|epicardial|"
        r"ventricular|atrial|cardiac|icd) )*(?:leads?|electrodes?)|lvad|impella|iabp|balloon pump|"
        r"ecmo|watchman|occluder",
    ),
    Term(
        (Says(DEVICE),),
        r"(?:(?:sternal|sternotomy|median|midline|cerclage|surgical|skin|epicardial|spinal|aortic|"
        r"mitral|tricuspid|coronary|vascular|ivc|valve|orthopa?edic|fixation|vp|"
        r"ventriculoperitoneal) )*"
        r"(?:wires?|clips?|staples?|sutures?|stents?|filters?|hardware|screws?|rods?|plates?|"
        r"prosthe\w+|implants?|shunts?|coils?|devices?|arthroplast\w+|annuloplasty|endograft|"
        r"instrumentation|catheters?)",
    ),
    Term(
        (Says(DEVICE),),
        r"(?:prosthetic|mechanical|bioprosthetic|artificial|porcine)(?: \w+){0,2} valves?|"
        r"valve (?:replacements?|repairs?|rings?)|(?:aortic|mitral|"
        r"tricuspid) (?:valve )?replacement|tavr|tavi|internal fixation|surgical material",
    ),
]

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
        r"enlarge[ds]?|enlargement|enlarging|large|larger than normal|dilated|globular|"
        r"increased(?: in size)?|big",
    ),
    Quality(1, frozenset({"mediastinum"}), r"wide(?:ned|ning)?|broad(?:ened)?"),
    Quality(
        1, frozenset({"angles"}), r"blunt(?:ed|ing)?|obscur(?:ed|ation)|obliterated|hazy|indistinct|effaced"
    ),
    Quality(1, frozenset({"pleura"}), r"thickened|calcified|irregular"),
]

CUES: Sequence[Rule] = [
    # neither yes nor no
    Cue(
        None,
        "ahead",
        r"no (?:(?:significant|interval|appreciable|substantial|definite|obvious|major|relevant|"
        r"real|acute|notable|marked|evidence of|radiographic|further|short|visible|suggestion of|"
        r"particular) )*" + _CHANGE + r"(?: (?:in|of|to|from|since|within))?",
    ),
    Cue(
        None,
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
    Cue(
        None,
        "ahead",
        r"(?:consistent|compatible|in keeping|in line|associated|concordant) with|represent(?:s|"
        r"ing)?|reflect(?:s|ing)?|indicat(?:es|ing|ive of)|diagnostic of|characteristic of|"
        r"typical of",
    ),
    # uncertain
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
        r"(?:may|might|could) (?:also )?(?:be (?:present|seen|there|considered|suspected|possible|"
        r"also present|partially present)|exist|persist|remain|have (?:developed|occurred))",
    ),
    Cue(
        "uncertain",
        "back",
        r"(?:(?:is|are|remains?|also|be|was|were|seems?|thought) (?:also |most |more |very |"
        r"felt )*)?(?:possible|likely|probable|suspected|questionable|questioned|favou?red|"
        r"unlikely|doubtful|a possibility|a consideration|a concern|a possible \w+|considered|"
        r"suggested|equivocal|indeterminate|uncertain|"
        r"in the differential(?: diagnosis)?)(?=\s*[.,;)]|$)",
    ),
    Cue("uncertain", "beside", r"versus|vs\.?"),
    Cue("uncertain", "ahead", r"=(?<![a-z])\? ?(?=[a-z])"),
    Cue("uncertain", "before", r"=\?"),
    Cue(
        "unsaid",
        "ahead",
        r"(?:may|might|could|would|can|potentially) (?:also )?(?:obscur\w+|mask\w*|hide|mimic\w*|"
        r"simulat\w+|be missed)|mimic\w*|simulat\w+",
    ),
    Cue(
        "uncertain",
        "ahead",
        r"may|might|could|possib(?:le|ly|ility of|ility)|prob(?:able|ably|ability of)|(?:most |"
        r"very )?likely|presum(?:ed|ably|ptive)|question(?:able|ably|ed)?(?: of)?|suspect(?:ed|"
        r"s)?|suspicion (?:of|for)|suspicious (?:for|of)"
        r"|concern(?:ing|ed)?(?: for| of| about)|worrisome (?:for|of)|worry for|suggest(?:s|ing|"
        r"ive|ion|ions|ed|ive of)?(?: of)?|perhaps|equivocal|potential(?:ly)?|conceivabl[ey]|"
        r"favou?r(?:s|ed|ing)?|unlikely|unlikely to be|"
        r"differential(?: diagnosis)?(?: \w+)?(?: includes?)?|considerations? includes?|consider|"
        r"seems? to be|thought to be|hint of|vs|argues? against|doubtful|rais(?:es|"
        r"ing) (?:the )?(?:question|possibility|concern)(?: of| for)?|unclear (?:if|whether)|"
        r"indeterminate for|borderline",
    ),
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
        r"without(?: \w+ evidence)?(?: evidence)?(?: of)?|absence of|absent"
        r"|negative for|(?:grossly )?(?:free|clear) (?:of|from)|den(?:ies|ied|ying)|lack(?:s|"
        r"ing)?(?: of)?|fail(?:s|ed|ure)? to (?:show|demonstrate|reveal|identify)|rather than|"
        r"instead of|excludes?|rules? out|never|devoid of|unaccompanied by",
    ),
    Cue("uncertain", "ahead", r"uncertain|possibilities include"),
]

MARKS: Sequence[Rule] = [
    Mark("or", r"and/or|or"),
    Mark("or", r"=(?<=[a-z])/(?=[a-z])"),
    Mark(
        "stop",
        r"but|however|although|though|except(?:ing)?(?: for)?|(?:aside|apart) from|other than|"
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
    rules=[*NONE, *CUES[:8], *TERMS, *QUALITIES, *CUES[8:], *ORGANS, *MARKS],
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
    listed=r"[ ,/]*(?:(?:and|or|and/or)[ ]+)?(?:(?!no\b|without\b)[a-z]+[ ]+){0,2}",
)
