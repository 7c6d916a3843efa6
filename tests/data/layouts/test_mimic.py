from __future__ import annotations

import pytest

from xraytk.data.deid import hashed
from xraytk.data.layouts import read_layout
from xraytk.data.layouts.chexpert import FINDINGS
from xraytk.data.layouts.mimic import sections_of

META = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,"
    "StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
    "PatientOrientationCodeSequence_CodeMeaning\n"
)
ONE = "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014"
TWO = "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962"
ROWS = (
    f"{ONE},10000032,50414267,CHEST,PA,3056,2544,21800506,213014.531,CHEST,postero-anterior,Erect\n"
    f"{TWO},10000032,50414267,CHEST,,3056,2544,21800506,213014.531,CHEST,lateral,Erect\n"
    "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab,10000764,53189527,CHEST,AP LLD,3056,2544,21800626,1,C,,\n"
)
SPLIT = (
    "dicom_id,study_id,subject_id,split\n"
    f"{ONE},50414267,10000032,train\n{TWO},50414267,10000032,train\n"
    "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab,53189527,10000764,validate\n"
)
LABELS = (
    f"subject_id,study_id,{','.join(sorted(FINDINGS))}\n"
    f"10000032,50414267{',' * 9}1.0{',' * 5}\n"
    f"10000764,53189527,-1.0{',' * 2}0.0{',' * 11}\n"
)
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 FINDINGS:

 There is no focal consolidation, pleural effusion or
 pneumothorax.

 IMPRESSION:

 No acute cardiopulmonary process.
"""


@pytest.fixture
def mimic(published):
    published.write("mimic-cxr-2.0.0-metadata.csv.gz", META + ROWS)
    published.write("mimic-cxr-2.0.0-split.csv.gz", SPLIT)
    published.write("mimic-cxr-2.0.0-chexpert.csv.gz", LABELS)
    published.write("mimic-cxr-2.0.0-negbio.csv.gz", LABELS)
    published.write("files/p10/p10000032/s50414267.txt", REPORT)
    return published


@pytest.mark.parametrize("ending", ["jpg", "dcm"])
def test_mimic_joins_images_to_their_study(mimic, ending) -> None:
    layout = read_layout("mimic", mimic.folder, mimic.key)
    front = mimic.of(layout, f"files/p10/p10000032/s50414267/{ONE}.{ending}")
    side = mimic.of(layout, f"files/p10/p10000032/s50414267/{TWO}.{ending}")
    assert (front.facts.view, side.facts.view) == ("PA", "LATERAL")
    assert front.facts.patient_hash == hashed(mimic.key, "patient", "mimic:10000032")
    assert front.facts.study_hash == side.facts.study_hash
    assert front.facts.split == "train"
    assert front.labels == side.labels == {sorted(FINDINGS)[8]: 1.0}
    text = (
        "There is no focal consolidation, pleural effusion or pneumothorax. No acute cardiopulmonary process."
    )
    assert front.report.en == side.report.en == text
    assert front.boxes is None


def test_mimic_decubitus_is_no_frontal_view_and_uncertain_stays(mimic) -> None:
    layout = read_layout("mimic", mimic.folder, mimic.key)
    known = mimic.of(layout, "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab.jpg")
    assert (known.facts.view, known.facts.split) == ("OTHER", "val")
    assert known.labels == {sorted(FINDINGS)[0]: -1.0, sorted(FINDINGS)[2]: 0.0}
    assert known.report is None
    assert "1 labels are uncertain (-1)" in layout.notes
    assert any("NegBio" in note for note in layout.notes)
    assert len(layout.tables) == 4


def test_mimic_keeps_no_raw_id(mimic) -> None:
    layout = read_layout("mimic", mimic.folder, mimic.key)
    said = repr(layout) + "".join(repr(facts) for _, _, facts in layout.metadata)
    assert "10000032" not in said.replace(str(mimic.folder), "")
    assert "50414267" not in said.replace(str(mimic.folder), "")


def test_mimic_dicom_alone_is_known_by_its_record_list(published) -> None:
    published.write(
        "cxr-record-list.csv.gz",
        f"subject_id,study_id,dicom_id,path\n10000032,50414267,{ONE},files/p10/p10000032/s50414267/{ONE}.dcm\n",
    )
    published.write(
        "mimic_cxr_sectioned.csv",
        'study,impression,findings,last_paragraph,comparison\ns50414267,Normal,,x,\ns1,,,"Last words.",\n',
    )
    layout = read_layout("mimic", published.folder, published.key)
    known = published.of(layout, f"files/p10/p10000032/s50414267/{ONE}.dcm")
    assert known.facts.split == ""
    assert known.report.en == "Normal"
    assert [report.en for _, _, report in layout.reports] == ["Normal", "Last words."]
    assert any("drawn anew" in note for note in layout.notes)


def test_sections_of_reports() -> None:
    assert sections_of("FINDINGS AND IMPRESSION: Clear.") == ("Clear.", "")
    assert sections_of("CONCLUSION: Clear.") == ("", "Clear.")
    assert sections_of("Comparison is made.\n\n Lungs are clear.\n")[0].strip() == "Lungs are clear."
    assert sections_of("") == ("", "")
    both = sections_of("FINDINGS: A.\n COMPARISON: none\n IMPRESSION: B.\n RECOMMENDATION: C.")
    assert both == ("A.", "B.")
