"""Words of reports that are no names, though they may be capitalised."""

from __future__ import annotations

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
    "third ray rays digital radiography upright films erect sitting technician anesthesia trauma "
    "neurology pediatrics gynecology orthopedics pulmonology self anonymous neurosurgery urology "
    "nephrology hematology gastroenterology otolaryngology ent obstetrics burn rehabilitation hospitalist "
    "english spanish french speaking interpreter parent parents family caregiver mother father daughter "
    "son wife husband reason transport registrar intern charge covering on-call service primary-care micu "
    "sicu nicu picu ccu pacu ems pcp ob gyn lat ap/lat apr chf copd pe dvt mi findings' results' who's "
    "please thanks review pending confirm confirms agrees states denies presents presented complains "
    "requests recommends arrived arrives returns returned underwent received transferred admitted "
    "discharged being fleischner criteria society guidelines protocol version speech recognition software "
    "voice dragon powerscribe picc swan ganz dobhoff hickman foley jackson pratt salem kerley hampton "
    "ghon january february march april june july august september october november december monday "
    "tuesday wednesday thursday friday saturday sunday cardiothoracic vascular seldinger marfan syndrome "
    "disease sign positioned position rotated fluid degrees bank"
)
NO_NAME = frozenset(_STOP.split())
"""Words that are capitalised in reports and are no names; some are, and are then missed."""

_ABBREVIATED = (
    "ap pa lat ct mr mri us ed er icu micu sicu nicu picu ccu or md rn np rt do uk usa cxr dr cr dx gp "
    "ent ems hx sx tx rx fx ekg ecg iv ng et ett og pet cta mra lao rao lpo rpo fna cad ai pt kub abd il "
    "va hip phi hiv tb acr who ir id"
)
NO_INITIALS = frozenset(_ABBREVIATED.split())
"""Short forms of reports, which are no initials of a person."""
