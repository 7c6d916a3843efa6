"""Which attributes of a radiograph stay in a de-identified one, and what becomes of each.

An allow-list: what is not named here is removed. No attribute stays as the text that it was.
Words are compared with lists, numbers are written anew within a range, dates are shifted, UIDs
and ids are replaced. So a name in the wrong element, which no list of dangerous elements
foresees, does not pass.
"""

from __future__ import annotations

from types import MappingProxyType

WINDOW_DIGITS = 7
"""Significant digits of decimal numbers: finer than any detector, too short for an id."""

SOP_CLASSES = frozenset(
    "1.2.840.10008.5.1.4.1.1." + end
    for end in ("1", "1.1", "1.1.1", "7", "7.1", "7.2", "7.3", "7.4", "12.1", "12.2")
)
"""CR, DX (both), secondary capture (all), XA and XRF, which some chest units send."""

PSEUDONYMS = MappingProxyType(
    {"PatientID": "patient", "PatientName": "patient", "AccessionNumber": "accession", "StudyID": "study id"}
)
"""Attribute to the kind of its keyed hash; a person's name becomes that of the id."""

UIDS = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "AcquisitionUID",
    "IrradiationEventUID", "InstanceCreatorUID", "DeviceUID",
)  # fmt: skip
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate")
TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime")
DATETIMES = ("AcquisitionDateTime",)

EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber", "InstanceNumber",
    "Manufacturer", "PatientOrientation",
)  # fmt: skip
"""Attributes of type 2 in every radiograph: empty where nothing may stand."""
EMPTY_IN_DX = ("DetectorType", "PositionerType", "AnatomicRegionSequence", "AcquisitionContextSequence")
EMPTY_IN_CR = ("BodyPartExamined", "ViewPosition")


def _words(texts: str) -> frozenset[str]:
    return frozenset(texts.split())


_YES_NO = _words("YES NO")
_BODY_PARTS = _words(
    "ABDOMEN ABDOMENPELVIS ANKLE ARM BREAST BRONCHUS CALCANEUS CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE "
    "COCCYX CSPINE CTSPINE ELBOW EXTREMITY FEMUR FIBULA FINGER FOOT FOREARM HAND HEAD HEART HIP HUMERUS JAW "
    "KNEE LEG LSPINE LSSPINE LUNG MEDIASTINUM NECK NECKCHEST PATELLA PELVIS RADIUS RIB RIBS SACRUM SCAPULA "
    "SHOULDER SKULL SPINE STERNUM SSPINE TIBIA THORAX TOE TRACHEA TSPINE TLSPINE ULNA WHOLEBODY WRIST "
    "ZYGOMA PORT_CHEST"
)
_SIDES = _words("L R U B")

WORDS = MappingProxyType(
    {
        "PresentationIntentType": frozenset({"FOR PRESENTATION", "FOR PROCESSING"}),
        "ConversionType": _words("DV DI DF WSD SD SI DRW SYN"),
        "PatientSex": _words("M F O"),
        "PatientSexNeutered": _words("ALTERED UNALTERED"),
        "SmokingStatus": _words("YES NO UNKNOWN"),
        "AnatomicalOrientationType": _words("BIPED QUADRUPED"),
        "PatientPosition": _words("HFP HFS HFDR HFDL FFP FFS FFDR FFDL"),
        "BodyPartExamined": _BODY_PARTS,
        "ViewPosition": _words("AP PA LL RL LLD RLD LLO RLO LAO RAO LPO RPO LATERAL LAT OBL"),
        "Laterality": _SIDES,
        "ImageLaterality": _SIDES,
        "QualityControlImage": _YES_NO,
        "RecognizableVisualFeatures": _YES_NO,
        "LossyImageCompression": _words("00 01"),
        "LossyImageCompressionMethod": _words("ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_18181_1"),
        "PhotometricInterpretation": _words(
            "MONOCHROME1 MONOCHROME2 RGB YBR_FULL YBR_FULL_422 YBR_PARTIAL_422 YBR_PARTIAL_420 "
            "YBR_ICT YBR_RCT"
        ),
        "PixelIntensityRelationship": _words("LIN LOG DISP"),
        "PresentationLUTShape": _words("IDENTITY INVERSE"),
        "VOILUTFunction": _words("LINEAR LINEAR_EXACT SIGMOID"),
        "RescaleType": _words("US OD HU OTHER"),
        "CalibrationImage": _YES_NO,
        "DetectorType": _words("DIRECT SCINTILLATOR STORAGE FILM"),
        "DetectorConfiguration": _words("AREA SLOT"),
        "DetectorActiveShape": _words("RECTANGLE ROUND HEXAGONAL"),
        "DetectorConditionsNominalFlag": _YES_NO,
        "FieldOfViewShape": _words("RECTANGLE ROUND HEXAGONAL"),
        "FieldOfViewHorizontalFlip": _YES_NO,
        "PositionerType": _words("CARM COLUMN NONE MAMMOGRAPHIC PANORAMIC CEPHALOSTAT RIGID"),
        "TableType": _words("FIXED TILTING NONE"),
        "CassetteOrientation": _words("LANDSCAPE PORTRAIT"),
        "CassetteSize": _words(
            "18CMX24CM 8INX10IN 24CMX30CM 10INX12IN 30CMX35CM 30CMX40CM 11INX14IN 14INX14IN 14INX17IN "
            "35CMX43CM 35CMX35CM"
        ),
        "Grid": _words("NONE FIXED RECIPROCATING PARALLEL FOCUSED CROSSED IN"),
        "ExposureControlMode": _words("MANUAL AUTOMATIC"),
        "ExposureStatus": _words("NORMAL ABORTED"),
        "RectificationType": frozenset({"SINGLE PHASE", "THREE PHASE", "CONST POTENTIAL"}),
        "AnodeTargetMaterial": _words("TUNGSTEN MOLYBDENUM RHODIUM SILVER"),
        "FilterMaterial": _words(
            "ALUMINUM COPPER MOLYBDENUM RHODIUM NIOBIUM EUROPIUM LEAD SILVER TIN NONE MIXED"
        ),
        "CollimatorShape": _words("RECTANGULAR CIRCULAR POLYGONAL"),
        "ShutterShape": _words("RECTANGULAR CIRCULAR POLYGONAL"),
    }
)
"""Attributes with coded texts, to the only texts that pass."""

NUMBERS = MappingProxyType(
    {
        "SeriesNumber": (0, 99_999, 1),
        "InstanceNumber": (0, 99_999, 1),
        "AcquisitionNumber": (0, 99_999, 1),
        "ImagesInAcquisition": (0, 9999, 1),
        "NumberOfFrames": (1, 9999, 1),
        "PatientSize": (0.2, 2.6, 1),
        "PatientWeight": (0.2, 400, 1),
        "PregnancyStatus": (1, 4, 1),
        "KVP": (10, 200, 1),
        "ExposureTime": (0, 100_000, 1),
        "ExposureTimeInuS": (0, 100_000_000, 1),
        "XRayTubeCurrent": (0, 10_000, 1),
        "XRayTubeCurrentInuA": (0, 10_000_000, 1),
        "Exposure": (0, 10_000, 1),
        "ExposureInuAs": (0, 10_000_000, 1),
        "ExposureIndex": (0, 100_000, 1),
        "TargetExposureIndex": (0, 100_000, 1),
        "DeviationIndex": (-100, 100, 1),
        "Sensitivity": (0, 100_000, 1),
        "RelativeXRayExposure": (0, 100_000, 1),
        "ImageAndFluoroscopyAreaDoseProduct": (0, 100_000, 1),
        "EntranceDoseInmGy": (0, 1000, 1),
        "HalfValueLayer": (0, 100, 1),
        "FocalSpots": (0, 10, 3),
        "GeneratorPower": (0, 1000, 1),
        "FilterThicknessMinimum": (0, 100, 4),
        "FilterThicknessMaximum": (0, 100, 4),
        "DistanceSourceToDetector": (100, 10_000, 1),
        "DistanceSourceToPatient": (100, 10_000, 1),
        "EstimatedRadiographicMagnificationFactor": (0.5, 10, 1),
        "BodyPartThickness": (1, 1000, 1),
        "PositionerPrimaryAngle": (-360, 360, 1),
        "PositionerSecondaryAngle": (-360, 360, 1),
        "DetectorPrimaryAngle": (-360, 360, 1),
        "DetectorSecondaryAngle": (-360, 360, 1),
        "ColumnAngulation": (-360, 360, 1),
        "TableAngle": (-360, 360, 1),
        "PixelSpacing": (0.001, 100, 2),
        "ImagerPixelSpacing": (0.001, 100, 2),
        "NominalScannedPixelSpacing": (0.001, 100, 2),
        "PixelAspectRatio": (1, 10_000, 2),
        "SpatialResolution": (0.001, 100, 1),
        "DetectorElementPhysicalSize": (0.001, 100, 2),
        "DetectorElementSpacing": (0.001, 100, 2),
        "DetectorBinning": (1, 64, 2),
        "DetectorActiveDimensions": (1, 2000, 2),
        "DetectorActiveOrigin": (-2000, 2000, 2),
        "DetectorTemperature": (-20, 100, 1),
        "FieldOfViewOrigin": (-10_000, 10_000, 2),
        "FieldOfViewDimensions": (1, 10_000, 2),
        "FieldOfViewRotation": (0, 270, 1),
        "GridPitch": (0, 100, 1),
        "GridPeriod": (0, 10_000, 1),
        "GridAspectRatio": (0, 100, 2),
        "GridFocalDistance": (0, 10_000, 1),
        "LossyImageCompressionRatio": (0, 10_000, 4),
        "WindowCenter": (-1e6, 1e6, 16),
        "WindowWidth": (0, 1e6, 16),
        "RescaleIntercept": (-1e6, 1e6, 1),
        "RescaleSlope": (-1e6, 1e6, 1),
        "PixelIntensityRelationshipSign": (-1, 1, 1),
        "ExposuresOnPlate": (0, 65_535, 1),
        **{
            f"{thing}{edge}Edge": (0, 65_535, 1)
            for thing in ("Collimator", "Shutter")
            for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
        },
        **{f"CenterOfCircular{thing}": (0, 65_535, 2) for thing in ("Collimator", "Shutter")},
        **{f"RadiusOfCircular{thing}": (0, 65_535, 1) for thing in ("Collimator", "Shutter")},
        **{f"VerticesOfThePolygonal{thing}": (0, 65_535, 256) for thing in ("Collimator", "Shutter")},
        "ShutterPresentationValue": (0, 65_535, 1),
    }
)
"""Attributes with numbers, to (lowest, highest, most values; 2 is a pair); nothing else passes."""

CODES = MappingProxyType(
    {
        "272479007": "postero-anterior", "R-10214": "postero-anterior",
        "399348003": "antero-posterior", "R-10206": "antero-posterior",
        "399067008": "lateral", "399173006": "left lateral", "R-10236": "left lateral",
        "399198007": "right lateral", "R-10232": "right lateral",
        "399352003": "latero-medial", "R-10228": "latero-medial", "399260004": "medio-lateral",
        "51185008": "Chest", "T-D3000": "Chest", "39607008": "Lung", "T-28000": "Lung",
        "113197003": "Rib", "T-11300": "Rib", "56873002": "Sternum", "T-11210": "Sternum",
    }
)  # fmt: skip
"""Code values of views and regions of the chest, to the meaning that is written with them."""
CODE_SEQUENCES = ("ViewCodeSequence", "AnatomicRegionSequence")
SCHEMES = _words("SCT SRT SNM3")

METHODS = MappingProxyType(
    {
        "113100": "Basic Application Confidentiality Profile",
        "113101": "Clean Pixel Data Option",
        "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
        "113108": "Retain Patient Characteristics Option",
    }
)
"""Codes of DICOM PS3.16 CID 7050 that `profile.clean_dicom` can claim."""

ACTIONS = MappingProxyType(
    {
        **dict.fromkeys(("PatientID", "PatientName", "AccessionNumber", "StudyID"), "Z"),
        **dict.fromkeys(("PatientBirthDate", "ReferringPhysicianName"), "Z"),
        **dict.fromkeys(("AcquisitionContextSequence",), "Z"),
        **dict.fromkeys(("PatientSex", "PatientAge", "PatientSize", "PatientWeight"), "K"),
        **dict.fromkeys(("PatientSexNeutered", "SmokingStatus", "PregnancyStatus"), "K"),
        **dict.fromkeys((*DATES, *TIMES, *DATETIMES), "C"),
        **dict.fromkeys(UIDS, "U"),
    }
)
"""The action done to every kept attribute that Table E.1-1 names; all else that it names is removed."""
