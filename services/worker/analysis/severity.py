"""How bad a known vulnerability is: its CVSS base score, and the words and SARIF levels that go with it.

Used by services/worker/analysis/vulnerabilities.py. Formula and words: CVSS v3.1 specification (FIRST), sections 5,
7.1, 7.4 and appendix A. A CVSS v4 vector is not computed here: then the publisher's own word counts.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

SEVERITIES = ("critical", "high", "medium", "low", "unknown")
LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "unknown": "warning"}
"""SARIF levels."""
_WORDS = {"critical": "critical", "high": "high", "moderate": "medium", "medium": "medium", "low": "low"}
_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def base_score(vector: str) -> float | None:
    """The CVSS v3 base score, 0.0 to 10.0, of a vector such as `CVSS:3.1/AV:N/AC:L/…`; None for any other text."""
    if not vector.startswith(("CVSS:3.0/", "CVSS:3.1/")):
        return None
    metrics = dict(part.partition(":")[::2] for part in vector.split("/")[1:])
    try:
        changed = {"U": False, "C": True}[metrics["S"]]
        weight = {name: values[metrics[name]] for name, values in _WEIGHTS.items()}
        privileges = _PRIVILEGES[metrics["S"]][metrics["PR"]]
    except KeyError:
        return None
    lost = 1 - prod(1 - weight[name] for name in "CIA")
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * weight["AV"] * weight["AC"] * privileges * weight["UI"]
    return _rounded_up(min((impact + exploitability) * (1.08 if changed else 1.0), 10.0))


def rating(record: Mapping[str, Any]) -> tuple[str, float | None, str | None]:
    """(severity, score, vector) of a record of the OSV schema. The publisher's word goes before our own sum."""
    score, vector = None, None
    for one in record.get("severity") or ():
        text = str(one.get("score", ""))
        if vector is None or text.startswith("CVSS:3"):
            vector = text
            score = base_score(text)
    said = str((record.get("database_specific") or {}).get("severity", "")).lower()
    return _WORDS.get(said) or _word(score), score, vector


def _word(score: float | None) -> str:
    if score is None:
        return "unknown"
    return next(
        word for word, least in (("critical", 9.0), ("high", 7.0), ("medium", 4.0), ("low", 0.0)) if score >= least
    )


def _rounded_up(value: float) -> float:
    """To one decimal, in whole numbers: appendix A says why."""
    scaled = round(value * 100_000)
    return scaled / 100_000 if scaled % 10_000 == 0 else (scaled // 10_000 + 1) / 10
