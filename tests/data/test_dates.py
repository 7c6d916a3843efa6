from __future__ import annotations

import datetime as dt

import pytest

from xraytk.data.dates import hour_of, shift_date, shift_datetime, shift_days

KEY = bytes(range(32))


def test_a_patients_days_are_whole_weeks_back_between_one_and_ten_years() -> None:
    days = [shift_days(KEY, f"{i:04d}") for i in range(3000)]
    assert all(d % 7 == 0 and -3653 < d < -365 for d in days)
    assert len(set(days)) == 469


def test_the_shift_follows_from_key_and_patient() -> None:
    assert shift_days(KEY, "a") == shift_days(KEY, "a")
    assert len({shift_days(KEY, "a"), shift_days(KEY, "b"), shift_days(bytes(32), "a")}) == 3


@pytest.mark.parametrize(
    ("value", "days", "shifted"),
    [
        ("20240301", -1, "20240229"),
        ("20240101", -371, "20221226"),
        (" 20240101 ", 0, "20240101"),
        ("2024.01.02", -1, "20240101"),
        ("00010101", -1, ""),
        ("20230229", -7, ""),
        ("2024", -7, ""),
        ("2024.0102", -7, ""),
        ("20240101-20240201", -7, ""),
        ("２０２４０１０１", -7, ""),
        ("Anna", -7, ""),
        ("", -7, ""),
    ],
)
def test_dates_by_hand(value: str, days: int, shifted: str) -> None:
    assert shift_date(value, days) == shifted


def test_intervals_and_weekdays_stay() -> None:
    days = shift_days(KEY, "anyone")
    first, second = (shift_date(v, days) for v in ("20240215", "20240401"))
    one, two = (dt.datetime.strptime(v, "%Y%m%d").date() for v in (first, second))
    assert (two - one).days == 46
    assert one.weekday() == dt.date(2024, 2, 15).weekday()


@pytest.mark.parametrize(
    ("value", "shifted"),
    [
        ("20240108", "20240101"),
        ("20240108142359.123456+0800", "20240101140000"),
        ("2024010814", "20240101140000"),
        ("20240108990000", "20240101"),
        ("202401", ""),
        ("20240108 Anna", ""),
    ],
)
def test_dates_with_times_by_hand(value: str, shifted: str) -> None:
    assert shift_datetime(value, -7) == shifted


@pytest.mark.parametrize(
    ("value", "hour"),
    [("142359.123456", "140000"), ("07", "070000"), ("14:23:59", "140000"), ("235960", "230000"),
     ("2401", ""), ("1", ""), ("", ""), ("14 Anna", ""), ("１４", "")],
)  # fmt: skip
def test_times_are_cut_to_the_hour(value: str, hour: str) -> None:
    assert hour_of(value) == hour
