"""A fixed slice of the differential test against cronsim; the whole is `python -m tests.unit.time.differential`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.time import generated
from tests.unit.time.differential import compare_zone

PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_difference_from_cronsim(part):
    counts: Counter[str] = Counter()
    for zone in generated.zones()[part::PARTS]:
        of_zone, differences = compare_zone(zone, cases_per_transition=8, seed=1, most_transitions=24)
        assert differences == []
        counts += of_zone
    assert counts["refused by us alone"] == 0
    assert counts["cases"] > 10_000
