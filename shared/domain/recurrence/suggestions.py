"""What was perhaps meant: the nearest known word to a misspelt one.

Used only on the way to a refusal, so it may be slow.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_HOURS = {"MIDNIGHT": "0", "NOON": "12", "MIDDAY": "12"}
_DAYS = {"WEEKDAY": "MON-FRI", "WEEKDAYS": "MON-FRI", "WEEKEND": "SAT,SUN", "WEEKENDS": "SAT,SUN"}
_ABBREVIATIONS = {
    "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles",
    "MDT": "America/Denver",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "EDT": "America/New_York",
    "BST": "Europe/London",
    "CEST": "Europe/Berlin",
    "EEST": "Europe/Athens",
    "MSK": "Europe/Moscow",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "SGT": "Asia/Singapore",
    "AEST": "Australia/Sydney",
    "AEDT": "Australia/Sydney",
    "NZST": "Pacific/Auckland",
    "NZDT": "Pacific/Auckland",
    "Z": "UTC",
}


def closest(word: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """The known word most like this one, if one is alike enough; case counts little."""
    by_fold = {one.casefold(): one for one in known}
    found = get_close_matches(word.casefold(), by_fold, n=1, cutoff=cutoff)
    return by_fold[found[0]] if found else None


def closest_item(field: str, text: str, names: list[str]) -> str | None:
    """What a wrong value of a cron field was perhaps meant to be: a name, or a word or clock time as a number."""
    if field == "hour":
        return _HOURS.get(text) or _clock_hour(text)
    if field == "day-of-week" and text in _DAYS:
        return _DAYS[text]
    if not names or not text.isalpha():
        return None
    if len(text) > 3 and text[:3] in names:
        return text[:3]  # MONDAY, JANUARY
    return closest(text, names, cutoff=0.6)


def _clock_hour(text: str) -> str | None:
    """9AM and 5PM as hours of the 24-hour clock."""
    number, half = text[:-2], text[-2:]
    if half not in ("AM", "PM") or not (number.isascii() and number.isdigit()) or not 1 <= int(number[:3]) <= 12:
        return None
    return str(int(number) % 12 + (12 if half == "PM" else 0))


def closest_zone(name: str, zones: Iterable[str]) -> str | None:
    """The IANA zone perhaps meant: same letters in another case, a city alone, an abbreviation, or a near spelling."""
    known = sorted(zones)
    wanted = name.strip().replace(" ", "_").casefold()
    for zone in known:
        if zone.casefold() == wanted:
            return zone
    if (by_abbreviation := _ABBREVIATIONS.get(name.strip().upper())) in known:
        return by_abbreviation
    for zone in known:
        if zone.casefold().rpartition("/")[2] == wanted:
            return zone
    return closest(wanted, known, cutoff=0.75)
