"""Faust's folders lie in the home: they were made wherever the service was started, in the checkout too."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.health import app
from services.health.settings import Settings


def test_faust_makes_its_folders_in_the_home(tmp_path: Path) -> None:
    async def folder() -> Path:
        return app.build(Settings(home=tmp_path))[0].conf.appdir

    assert tmp_path in asyncio.run(folder()).parents
