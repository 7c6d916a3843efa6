from __future__ import annotations

from xraytk.data.layouts import read_layout

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEAD = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,"
    "Projection,MethodProjection,Pediatric,Modality_DICOM,ReportID,Report,MethodLabel,Labels,labelCUIS\n"
)


def _row(i: int, projection: str, labels: str, birth: str = "1930.0", method: str = "Physician") -> str:
    return (
        f"{i},100_{i}.png,0,20140915,7{i},8{i // 2},{birth},M,POSTEROANTERIOR,{projection},Manual review"
        f',No,CR,9{i},"sin hallazgos, pulmon .",{method},"{labels}","[\'C1\']"\n'
    )


def test_padchest(published, ones) -> None:
    published.write(
        NAME + ".gz",
        HEAD
        + _row(0, "PA", "['pleural effusion', ' Cardiomegaly ', '']")
        + _row(1, "L", "['normal']", method="RNN_model")
        + _row(2, "AP_horizontal", "['unchanged', 'cardiomegaly']", birth="1700.0")
        + _row(3, "COSTAL", "['exclude']")
        + _row(4, "EXCLUDE", "nan", birth=""),
    )
    layout = read_layout("padchest", published.folder, published.key)
    known = [published.of(layout, f"0/100_{i}.png") for i in range(5)]
    assert [k.facts.view for k in known] == ["PA", "LATERAL", "AP", "OTHER", "OTHER"]
    assert [k.facts.age_years for k in known] == [84.0, 84.0, None, 84.0, None]
    assert known[0].facts.patient_hash == known[1].facts.patient_hash != known[2].facts.patient_hash
    assert (known[0].facts.sex, known[0].facts.modality, known[0].facts.split) == ("M", "CR", "")
    assert layout.names == ("cardiomegaly", "normal", "pleural effusion")
    assert known[0].labels == {"cardiomegaly": 1.0, "normal": 0.0, "pleural effusion": 1.0}
    assert ones(known[1].labels) == {"normal"}
    assert known[2].labels == {"cardiomegaly": 1.0}
    assert known[3].labels is None
    assert known[4].labels is None
    assert known[0].report.es == "sin hallazgos, pulmon ."
    assert known[0].report.en == ""
    notes = "\n".join(layout.notes)
    for said in ("1 rows were labelled by a model", "1 ages left out", "Projection EXCLUDE", "says exclude"):
        assert said in notes


def test_rare_labels_of_padchest_are_left_out(published) -> None:
    rows = [_row(i, "PA", "['normal']") for i in range(1200)] + [_row(1200, "PA", "['rarity']")]
    published.write(NAME, HEAD + "".join(rows))
    layout = read_layout("padchest", published.folder, published.key)
    assert layout.names == ("normal",)
    assert any("1 labels left out: fewer" in note for note in layout.notes)
