"""English words that name findings, and words that look like them and are none.

Decisions where usage differs, CheXpert's practice unless said otherwise: a calcified granuloma alone
is no Lung Lesion, a calcified nodule is; scars and more interstitial markings are Lung Opacity;
vascular congestion is an indirect sign of Edema; heart failure is Edema, and Cardiomegaly uncertain;
a compression deformity is an uncertain sign of Fracture (ours), a healed fracture is a Fracture;
wires, clips, valves, stents and plates are Support Devices (ours), breast implants are none.

Source:
    Ours, from how radiologists write; no list of another labeller was used.
"""

from __future__ import annotations

from collections.abc import Sequence

from xraytk.tasks.findings.labels import (
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
)
from xraytk.tasks.findings.rules import Again, Rule, Says, Term

_NO = frozenset({0})
_FAILURE = (Says(EDEMA), Says(HEART, -1, sign=True, keep=frozenset({-1})))

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
        r"(?:(?:bon[ey]|osseous|skeletal|lytic|lucent|sclerotic|blastic|destructive|skin|vertebral|"
        r"spinal|rib)"
        r"(?: (?:or|and))?[ /-]+){1,4}"
        r"(?:lesions?|mass(?:es)?|metasta\w+|malignancy|densit\w+|opacit\w+|neoplasm)",
        r"(?:bone|bony|bone mineral|breast|calcific|calcified|metallic|metal|mineral|osseous|"
        r"vascular"
        r"|barium|contrast) densit(?:y|ies)",
        r"(?:thoracic|pleural|chest|abdominal|peritoneal) cavit(?:y|ies)(?! lesion)|mass effect"
        r"|body mass|lean mass|muscle mass",
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
        r"malignant (?:pleural )?(?:cause|etiology|origin|nature)",
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
        r"cardio_?megal\w*|(?:cardiac|heart|biventricular|(?:left|right) (?:ventricular"
        r"|heart)) enlargement|(?:enlarged|dilated) (?:left |right )?ventricles?"
        r"|increase in (?:the )?(?:heart|cardiac) size",
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
        r"(?:congestive )?(?:heart|cardiac) failure|chf|(?:cardiac )?decompensation|(?:congestive"
        r"|early) failure",
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
        r"(?:sub_?pulmonic |pleural )?effusions?|pleural (?:(?!air\b|gas\b)\w+ )?(?:fluid|collections?"
        r"|effusive)|"
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
        r"(?:broncho_?)?pneumonias?|pna|infections?|infectious(?: (?:process|etiolog\w+|disease|"
        r"changes?|focus|cause))?|infective(?: \w+)?",
    ),
    Term((Says(COLLAPSE),), r"atelect\w+|collaps(?:e|ed|ing)"),
    Term(
        (Says(OPACITY),),
        r"opacit\w+|opacif\w+|infiltrat\w+|air_?space(?: \w+)? (?:diseases?|process\w*|changes?|"
        r"abnormalit\w+)|air_?spaces? disease"
        r"|densit(?:y|ies)|haz(?:e|y|iness)|ground glass(?: \w+)?|ggos?|white_?out|reticulation|"
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
        r"|picc|cvc|cvl|mediport|port_?a_?cath(?:s|eters?)?|infus[ae]_?ports?|chest port|ports?|vas_?cath|"
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

_SIZE = r"(?:small(?:er)?|tiny|larger?|moderate|newer|new|older|old|second|similar) "
_PLACE = r"(?:left|right|l|r|sided|bilateral|contralateral|apical|basilar|basal|upper|lower|lateral|medial) "
_ONE = (
    r"ones?(?![ -](?:thirds?|half|quarter|fourth|fifth|of|or|to|days?|weeks?|months?|years?|views?|cm|mm)\b)"
)
AGAIN: Sequence[Rule] = [
    Again(rf"{_SIZE}(?:{_PLACE})*{_ONE}"),
    Again(rf"(?:{_PLACE})+{_ONE}", organs=True),
    Again(r"(?:one|that|those) (?:on|in|at) the (?:left|right)"),
    Again(r"=(?<=\bnone )(?:on|in|at) the (?:left|right)\b"),
]
"""What stands for the finding named before: "no pneumothorax on the right; a small left one persists"."""
