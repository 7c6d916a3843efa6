"""Dates shifted per patient: intervals and weekdays stay, the calendar goes.

Every patient's dates move back by one keyed number of whole weeks between one and ten years.
Back, so that no date lies in the future; whole weeks, because the day of the week says much of
how a hospital works and nothing of who was there; more than a year, so that no date stays in its
own year. The time of day is cut to the hour: seconds would find the patient in any other log.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re

_WEEKS = (53, 521)
_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d(?:\.\d{1,6})?|:?60)?)?")
_DATETIME = re.compile(r"(\d{8})(?:(\d{2}[\d.]*))?(?:[+-]\d{4})?")


def shift_days(key: bytes, patient: str) -> int:
    """Days to add to every date of a patient: a multiple of 7 in -3647..-371.

    Args:
        key: From `deid.load_key`.
        patient: Whatever names the patient, the same for all their images.

    Source:
        Ours; DICOM PS3.15 E.3.6 asks for dates that are modified but keep their distances.
    """
    digest = hmac.new(key, b"dates:" + patient.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    low, high = _WEEKS
    return -7 * (low + int.from_bytes(digest[:8], "big") % (high - low + 1))


def shift_date(value: str, days: int) -> str:
    """Shift a DICOM date.

    Args:
        value: "YYYYMMDD", or "YYYY.MM.DD" as it was once written.
        days: To add.

    Returns:
        "YYYYMMDD"; "" where there is no whole and valid date.

    Source:
        DICOM PS3.5 6.2 (DA).
    """
    found = _DATE.fullmatch(value.strip(" \0"))
    if found is None or not value.isascii():
        return ""
    try:
        day = dt.date(int(found[1]), int(found[3]), int(found[4])) + dt.timedelta(days)
    except (ValueError, OverflowError):
        return ""
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def shift_datetime(value: str, days: int) -> str:
    """Shift a DICOM date and time, cut to the hour; its distance to UTC is dropped.

    Args:
        value: "YYYYMMDDHHMMSS.FFFFFF&ZZXX"; what is not known to the day cannot be shifted.
        days: To add.

    Returns:
        "YYYYMMDD" or "YYYYMMDDHH0000"; "" where there is no whole date.

    Source:
        DICOM PS3.5 6.2 (DT).
    """
    found = _DATETIME.fullmatch(value.strip(" \0"))
    if found is None:
        return ""
    day = shift_date(found[1], days)
    return day + hour_of(found[2] or "") if day else ""


def hour_of(value: str) -> str:
    """Cut a DICOM time to its hour: "142359.123" becomes "140000"; "" where it is none.

    Source:
        DICOM PS3.5 6.2 (TM); the hour is ours: it keeps the order within a day but for exams of
        the same hour, and matches the log of no other system.
    """
    found = _TIME.fullmatch(value.strip(" \0"))
    return f"{found[1]}0000" if found and value.isascii() else ""
