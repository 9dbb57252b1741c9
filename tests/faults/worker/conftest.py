"""The worker's fixtures."""

from __future__ import annotations

from tests.integration.worker.conftest import runs

__all__ = ["runs"]
