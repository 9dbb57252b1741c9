"""The IANA time zone database: which one is used, which zones it has, and one zone's changes of offset.

Called by `zone.py` and the model. The search order is Python's own (`zoneinfo.TZPATH`, then the tzdata wheel), so that
what is computed here and what `ZoneInfo` prints come from the same files; setting the variable PYTHONTZPATH to nothing
chooses the wheel, whose version the lock file fixes. Zone files are read once a process: an update of the database is
seen at the next start. Reading these files, which belong to the interpreter, is the only I/O of the domain.

File format: RFC 8536 (TZif); its footer, the rule for all later years: `posix_rule.py`.
"""

from __future__ import annotations

import re
import struct
import zoneinfo
from functools import cache
from hashlib import blake2b
from importlib import import_module, resources
from pathlib import Path

from shared.domain.recurrence.days import LAST_YEAR
from shared.domain.recurrence.posix_rule import rule_changes

_MACHINE_LOCAL = frozenset({"localtime", "posixrules", "Factory"})
_HEADER = struct.Struct(">4sc15x6l")
_VERSION_FILES = (("+VERSION", r"(\S+)"), ("tzdata.zi", r"# version (\S+)"))


@cache
def zone_names() -> frozenset[str]:
    """The names of all IANA zones, without those that mean "this machine's zone"."""
    return frozenset(zoneinfo.available_timezones()) - _MACHINE_LOCAL


@cache
def tzdb_source() -> str:
    """Where zones are read from: `system` (a directory of zoneinfo.TZPATH) or `wheel` (the tzdata package)."""
    return "wheel" if _system_directory() is None else "system"


@cache
def tzdb_version() -> str:
    """The release of the database in use, such as `2026a`; a fingerprint of its files where it names none."""
    directory = _system_directory()
    if directory is None:
        return _wheel_version()
    for name, pattern in _VERSION_FILES:
        file = directory / name
        if file.is_file() and (found := re.match(pattern, file.read_text(errors="replace")[:200])):
            return found.group(1)
    digest = blake2b(digest_size=6)
    for zone in sorted(zone_names()):
        digest.update(_zone_file(zone))
    return f"unknown-{digest.hexdigest()}"


@cache
def tzdb_newer() -> str | None:
    """The wheel's release where it is newer than the one in use: worth a warning when a service starts."""
    used, other = tzdb_version(), _wheel_version()
    return other if used.startswith("2") and other > used else None


def _wheel_version() -> str:
    return str(import_module("tzdata").IANA_VERSION)


@cache
def _system_directory() -> Path | None:
    """The first directory of TZPATH that holds zones."""
    directories = (Path(entry) for entry in zoneinfo.TZPATH)
    return next((directory for directory in directories if (directory / "Europe" / "London").is_file()), None)


def _zone_file(name: str) -> bytes:
    """The bytes of a zone's file. The name comes from `zone_names`, so it cannot lead elsewhere."""
    for directory in zoneinfo.TZPATH:
        file = Path(directory) / name
        if file.is_file():
            return file.read_bytes()
    return resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def offset_changes(name: str) -> list[tuple[int, int]]:
    """A zone's offset before its first change and after each: (instant, seconds east of UTC), to the calendar's end.

    The first instant is None's stand-in, the smallest 64-bit number. Changes of name alone are left out. Raises
    KeyError for a name that is not in the database.
    """
    if name not in zone_names():
        raise KeyError(name)
    instants, offsets, first, footer = _read_tzif(_zone_file(name))
    changes = [(-(1 << 63), first), *zip(instants, offsets, strict=True)]
    if footer:
        changes += rule_changes(footer, after=changes[-1][0], last_year=LAST_YEAR)
    merged: list[tuple[int, int]] = []
    for instant, offset in changes:
        if not merged or merged[-1][1] != offset:
            merged.append((instant, offset))
    return merged


def _read_tzif(data: bytes) -> tuple[list[int], list[int], int, str]:
    """Change instants, the offset after each, the offset before the first, and the footer of a TZif file."""
    magic, version, *counts = _HEADER.unpack_from(data)
    if magic != b"TZif" or version < b"2":
        raise ValueError("not a TZif file of version 2 or later")
    start = _HEADER.size + _block_size(counts, 4)  # the first block is the 32-bit one: passed over
    _, _, *counts = _HEADER.unpack_from(data, start)
    timecnt, typecnt = counts[3:5]
    body = start + _HEADER.size
    instants = list(struct.unpack_from(f">{timecnt}q", data, body))
    kinds = data[body + 8 * timecnt : body + 9 * timecnt]
    types = [struct.unpack_from(">lbB", data, body + 9 * timecnt + 6 * number) for number in range(typecnt)]
    before = next((offset for offset, is_dst, _ in types if not is_dst), types[0][0])
    footer = data[body + _block_size(counts, 8) :].strip(b"\n").decode("ascii")
    return instants, [types[kind][0] for kind in kinds], before, footer


def _block_size(counts: list[int], width: int) -> int:
    isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt = counts
    return timecnt * (width + 1) + typecnt * 6 + charcnt + leapcnt * (width + 4) + isstdcnt + isutcnt
