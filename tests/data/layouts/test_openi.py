from __future__ import annotations

import json

from xraytk.data.layouts import detect_layout, read_layout

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <meta type="rr"/>
  <uId id="CXR{number}"/>
  <pmcId id="{number}"/>
  <MedlineCitation Owner="Natl Library of Medicine" Status="supplied by publisher">
    <Article PubModel="Electronic">
      <Abstract>
        <AbstractText Label="COMPARISON">None.</AbstractText>
        <AbstractText Label="INDICATION">Positive TB test</AbstractText>
        <AbstractText Label="FINDINGS">{findings}</AbstractText>
        <AbstractText Label="IMPRESSION">{impression}</AbstractText>
      </Abstract>
    </Article>
  </MedlineCitation>
  <MeSH>{majors}<automatic>Hernia</automatic></MeSH>
  {images}
</eCitation>
"""


def _xml(number: int, findings: str, impression: str, majors: list[str], images: list[str]) -> str:
    return XML.format(
        number=number,
        findings=findings,
        impression=impression,
        majors="".join(f"<major>{m}</major>" for m in majors),
        images="".join(
            f'<parentImage id="{i}"><caption>Xray Chest PA and Lateral</caption></parentImage>'
            for i in images
        ),
    )


FOLDER = "NLMCXR_reports/ecgen-radiology"


def test_openi_xml_by_png_and_by_dicom_names(published, ones) -> None:
    names = ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]
    published.write(f"{FOLDER}/1.xml", _xml(1, "Lungs are clear", "Normal &lt;x&gt;.", ["normal"], names))
    majors = ["Cardiomegaly/borderline", "Pulmonary Artery/enlarged", "Cardiomegaly/mild"]
    published.write(f"{FOLDER}/2.xml", _xml(2, "", "Big heart.", majors, ["CXR2_IM-0652-1001"]))
    published.write(f"{FOLDER}/3.xml", _xml(3, "", "", ["No Indexing"], ["CXR3_IM-1384-1001"]))
    published.write(f"{FOLDER}/4.xml", _xml(4, "Words.", "", ["normal"], []))
    published.write(f"{FOLDER}/5.xml", "<eCitation>")
    published.write(f"{FOLDER}/6.xml", '<!DOCTYPE a [<!ENTITY b "c">]><eCitation>&b;</eCitation>')
    layout = read_layout("openi", published.folder, published.key)
    for path in ("NLMCXR_png/CXR1_1_IM-0001-3001.png", "NLMCXR_dcm/1/1_IM-0001-3001.dcm"):
        known = published.of(layout, path)
        assert known.report.en == "Lungs are clear. Normal <x>."
        assert ones(known.labels) == {"normal"}
    second = published.of(layout, "NLMCXR_dcm/2/2_IM-0652-1001.dcm")
    assert second.report.en == "Big heart."
    assert second.labels == {"Cardiomegaly": 1.0, "Pulmonary Artery": 1.0, "normal": 0.0}
    assert second.facts.patient_hash != known.facts.patient_hash
    third = published.of(layout, "CXR3_IM-1384-1001.png")
    assert third.facts is not None
    assert third.labels is None
    assert third.report is None
    notes = "\n".join(layout.notes)
    assert "2 reports left out" in notes
    assert "1 reports without images" in notes
    assert ".xml" in layout.endings


def test_openi_of_kaggle_knows_the_lateral_views(published, ones) -> None:
    published.write(
        "indiana_reports.csv",
        "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
        '1,normal,normal,Xray Chest PA and Lateral,TB test,None.,"Clear, both lungs.",Normal.\n'
        "2,Cardiomegaly/borderline;Pulmonary Artery/enlarged,x,Chest,y,z,,Big heart.\n"
        "9,normal,normal,Chest,y,z,,Lost.\n",
    )
    published.write(
        "indiana_projections.csv",
        "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n1,1_IM-0001-3001.dcm.png,Lateral\n"
        "2,2_IM-0652-1001.dcm.png,Frontal\n",
    )
    layout = read_layout("openi", published.folder, published.key)
    front = published.of(layout, "images/images_normalized/1_IM-0001-4001.dcm.png")
    side = published.of(layout, "images/images_normalized/1_IM-0001-3001.dcm.png")
    assert (front.facts.view, side.facts.view) == ("", "LATERAL")
    assert front.report.en == side.report.en == "Clear, both lungs. Normal."
    labels = published.of(layout, "2_IM-0652-1001.dcm.png").labels
    assert ones(labels) == {"Cardiomegaly", "Pulmonary Artery"}
    assert any("1 reports without images" in note for note in layout.notes)


def test_any_folder_of_xml_is_not_openi(published) -> None:
    published.write("1.xml", "<invoice/>")
    assert detect_layout(published.folder) is None


def test_openi_of_real_reports(published, shared_data) -> None:
    path = shared_data / "reports_iu" / "reports.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:60]]

    def plain(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;")

    for row in lines:
        texts = [plain(row[section]) for section in ("findings", "impression")]
        majors = [plain(m) for m in row["mesh_major"]]
        number = int(row["uid"].removeprefix("CXR"))
        published.write(f"{FOLDER}/{number}.xml", _xml(number, *texts, majors, row["images"]))
    layout = read_layout("openi", published.folder, published.key)
    studies = {facts.study_hash for _, _, facts in layout.metadata}
    assert len(studies) == sum(bool(row["images"]) for row in lines)
    assert "normal" in layout.names
    for row in lines[:10]:
        report = published.of(layout, f"png/{row['images'][0]}.png").report
        assert report is not None
        assert report.en.startswith(" ".join((row["findings"] or row["impression"]).split())[:40])
