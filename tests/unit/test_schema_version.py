"""The tables that services ask for are those that the migrations make."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

import migrations
from shared.storage import schema


def test_services_ask_for_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.NEWEST


def test_older_tables_lack_something_and_newer_ones_do_not() -> None:
    def tables(version: str | None) -> str | None:
        return schema.lacking(lambda statement: version if "max" in statement else version and "alembic_version")

    assert "no tables yet" in str(tables(None))
    assert "no tables yet" in str(schema.lacking(lambda statement: None if "max" in statement else "alembic_version"))
    assert "are at 0007_open_jobs" in str(tables("0007_open_jobs"))
    assert tables(schema.NEWEST) is None
    assert tables("9999_later") is None
