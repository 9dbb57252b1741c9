"""What the health service's fault tests share with its others: plain SQL against the test's database."""

from tests.integration.health.conftest import rows

__all__ = ["rows"]
