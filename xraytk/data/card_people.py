"""The parts of a dataset card that speak of people, with small groups hidden.

A group of fewer than `FEWEST` patients is shown as "<5", without its images. Where only one
group of a table would be hidden, its number could be had by subtraction, so the next smallest is
hidden too. Ages from 90 are one group. The rule is that of official statistics (a threshold
and secondary suppression), not a proof of anonymity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xraytk.data.charts import bar, histogram
from xraytk.data.counts import age_groups
from xraytk.data.page import Html, joined, table, tag

FEWEST = 5
"""Patients that a group needs to be shown."""
NOT_RECORDED = tag("p", "Not recorded.", class_="soft")

_SEXES = {"M": "male", "F": "female", "O": "other", "": "not stated"}
_UNSTATED = "not stated"
_MOST_ROWS = 40


def percent(part: float, whole: float) -> str:
    """A share in percent, "0 %" only when it is nothing."""
    share = 100 * part / whole if whole else 0.0
    return "<0.1 %" if 0 < share < 0.05 else f"{share:.1f} %"


def block(title: str, *inside: object) -> Html:
    """One part of a section."""
    return tag("div", tag("h3", title), *inside, class_="block")


def tally(
    title: str,
    counts: Mapping[str, int] | None,
    name_of: Callable[[str], object] = str,
    *,
    unit: str = "images",
    note: str = "",
) -> Html:
    """A table of counts with bars, the largest first as given; long ones are cut.

    Args:
        title: Over it.
        counts: Value to count; None says that there is no such column, "" is what is not stated.
        name_of: What to write for a value.
        unit: What is counted.
        note: Under it.
    """
    if counts is None:
        return block(title, NOT_RECORDED)
    whole = sum(counts.values())
    if not whole:
        return block(title, tag("p", "None.", class_="soft"))
    shown = list(counts.items())
    rest = shown[_MOST_ROWS:]
    rows: list[tuple[object, ...]] = [
        (name_of(value) if value else _UNSTATED, f"{count:,}", percent(count, whole), bar(count / whole))
        for value, count in shown[:_MOST_ROWS]
    ]
    if rest:
        count = sum(n for _, n in rest)
        rows.append((f"{len(rest):,} others", f"{count:,}", percent(count, whole), bar(count / whole)))
    under = tag("p", note, class_="soft") if note else ""
    return block(title, table(("", unit, "share", ""), rows, "bars"), under)


def hidden(patients: Mapping[str, int], fewest: int = FEWEST) -> dict[str, str]:
    """Say which groups may not be shown.

    Args:
        patients: Group to number of patients.
        fewest: Patients that a group needs.

    Returns:
        The group, and what to write instead of its number: "<5", or "5 or more" for the one that
        is hidden so that the other's number cannot be had by subtraction.
    """
    small = {group: f"<{fewest}" for group, count in patients.items() if 0 < count < fewest}
    if len(small) == 1:
        others = [(count, group) for group, count in patients.items() if count >= fewest]
        if others:
            small[min(others)[1]] = f"{fewest} or more"
    return small


def by_patients(
    title: str,
    images: Mapping[str, int] | None,
    patients: Mapping[str, int] | None,
    fewest: int,
    name_of: Callable[[str], object] = str,
) -> Html:
    """A table of patients and images by group, small groups hidden."""
    if images is None or patients is None:
        return block(title, NOT_RECORDED)
    kept_back = hidden(patients, fewest)
    whole = sum(images.values())
    rows: list[tuple[object, ...]] = []
    for value, count in sorted(images.items(), key=lambda pair: _place(pair, kept_back)):
        name = name_of(value) if value else _UNSTATED
        if value in kept_back:
            rows.append((name, kept_back[value], "hidden", "", ""))
        else:
            share = percent(count, whole), bar(count / whole)
            rows.append((name, f"{patients.get(value, 0):,}", f"{count:,}", *share))
    if not rows:
        return block(title, tag("p", "None.", class_="soft"))
    return block(title, table(("", "patients", "images", "share", ""), rows, "bars"))


def _place(pair: tuple[str, int], kept_back: Mapping[str, str]) -> tuple[bool, int, str]:
    """Shown groups by size; hidden ones behind them by name, since their order tells something too."""
    value, count = pair
    return value in kept_back, 0 if value in kept_back else -count, value


def people(summary: Mapping[str, Any], fewest: int = FEWEST) -> Html:
    """The section on patients: sex, age, images of each."""
    patients_by = summary["patients_by"]
    rule = (
        f"Groups of fewer than {fewest} patients are not shown, nor is a group whose number would give "
        "such a one away; ages from 90 are one group."
    )
    per_patient = summary["images_per_patient"]
    return joined(
        [
            tag("p", rule, class_="soft"),
            tag(
                "div",
                by_patients("Sex", summary["sex"], patients_by["sex"], fewest, _sex_name),
                block("Age", ages(patients_by["age_and_sex"], patients_by["sex"], fewest)),
                block(
                    "Images of a patient",
                    histogram(
                        "Patients by their number of images",
                        [*per_patient],
                        {"": [*per_patient.values()]},
                        "images",
                        "patients",
                    )
                    if per_patient
                    else tag("p", "None.", class_="soft"),
                ),
                class_="grid",
            ),
        ]
    )


def _sex_name(value: str) -> str:
    return _SEXES.get(value, value)


def ages(
    by_sex: Mapping[str, Mapping[str, int]] | None, sexes: Mapping[str, int] | None, fewest: int
) -> Html:
    """Patients by age, and by sex unless a sex is hidden: its number could be had by subtraction.

    Args:
        by_sex: Sex to age group to patients; "" is unknown.
        sexes: Sex to patients.
        fewest: Patients that a group needs to be shown.

    Returns:
        A chart, and its numbers as a table.
    """
    if by_sex is None:
        return NOT_RECORDED
    if hidden(sexes or {}, fewest):
        pooled: dict[str, int] = {}
        for groups in by_sex.values():
            for group, count in groups.items():
                pooled[group] = pooled.get(group, 0) + count
        by_sex = {"all": pooled}
    names = age_groups()
    withheld = {sex: hidden(groups, fewest) for sex, groups in by_sex.items()}
    series = {
        _sex_name(sex): [0 if g in withheld[sex] else groups.get(g, 0) for g in names[:-1]]
        for sex, groups in by_sex.items()
        if any(group for group in groups)
    }
    rows = [
        (name or _UNSTATED, *(withheld[sex].get(name, f"{by_sex[sex].get(name, 0):,}") for sex in by_sex))
        for name in names
        if any(by_sex[sex].get(name) for sex in by_sex)
    ]
    if not series:
        return tag("p", "No image says how old the patient was.", class_="soft")
    starts = [name.split("-")[0] for name in names[:-1]]
    chart = histogram("Patients by age and sex", starts, series, "years", "patients")
    numbers = tag(
        "details",
        tag("summary", "The numbers"),
        table(("years", *(_sex_name(sex) for sex in by_sex)), rows, "numbers"),
    )
    missing = tag("p", "Hidden groups are not drawn.", class_="soft") if any(withheld.values()) else ""
    return joined([chart, missing, numbers])
