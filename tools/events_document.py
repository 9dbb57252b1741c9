"""Write docs/asyncapi.json from the event models: `python -m tools.events_document`."""

from pathlib import Path

import orjson

from shared.events.asyncapi import document

PATH = Path(__file__).resolve().parents[1] / "docs" / "asyncapi.json"


def text() -> bytes:
    """What the file must say."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2) + b"\n"


if __name__ == "__main__":
    PATH.write_bytes(text())
