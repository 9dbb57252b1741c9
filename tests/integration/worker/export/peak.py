"""Runs one export in this process alone and prints its result and peak memory. Started by test_large.py."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from services.worker.child import load
from tests.integration.worker.export.world import World

URL, HOME, PARAMETERS = sys.argv[1:]

handler = load("services.worker.tasks.export:export")
context = World(URL, Path(HOME)).context()
result = handler.function(context, handler.parameters.model_validate_json(PARAMETERS))
# VmHWM begins anew with each program; getrusage's maximum would remember the one that started this.
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
assert peak is not None
print(json.dumps({"result": result, "peak_mib": int(peak[1]) / 1024}))
