"""Webhooks for these tests, stored as the api stores them, and deliveries made by the real handler."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from services.worker.settings import Settings
from services.worker.task import Resources, TaskContext
from services.worker.tasks.webhook_delivery import webhook_delivery
from shared.events.task_types import WebhookDeliveryParameters
from shared.secrets import SecretBox
from shared.storage.database import Database
from shared.webhook_secrets import new_secret, seal_secrets

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def store_webhook(
    database: Database,
    home: Path,
    url: str,
    *,
    secrets: Sequence[str] | None = None,
    events: Sequence[str] = (),
    project_id: int = 1,
    enabled: bool = True,
) -> int:
    """A row as the api writes it; returns its id."""
    sealed = seal_secrets(SecretBox.open(None, home), project_id, secrets or [new_secret()])
    statement = text(
        "INSERT INTO webhooks (project_id, name, url, events, enabled, secrets_encrypted)"
        " VALUES (:project_id, 'hook ' || gen_random_uuid(), :url, :events, :enabled, :sealed) RETURNING id"
    )
    values = {"project_id": project_id, "url": url, "events": list(events), "enabled": enabled, "sealed": sealed}
    with database.transaction() as connection:
        return int(connection.execute(statement, values).scalar_one())


@dataclass
class Deliverer:
    """Runs the handler as the executor does, against a real database."""

    settings: Settings
    database: Database

    def webhook(self, url: str, **values: Any) -> int:
        return store_webhook(self.database, self.settings.home, url, **values)

    def deliver(self, webhook_id: int, payload: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
        event = values.pop("event", "schedule.fired")
        context = TaskContext(
            job_id=values.pop("job_id", 99),
            attempt=values.pop("attempt", 1),
            schedule_id=7,
            schedule_name="Campaign",
            project_id=1,
            task_type="webhook_delivery",
            scheduled_for=AT,
            trigger="schedule",
            tags={},
            started_at=AT,
            timeout_seconds=values.pop("timeout_seconds", 60.0),
            resources=Resources(self.settings.model_copy(update=values)),
        )
        parameters = WebhookDeliveryParameters(webhook_id=webhook_id, payload=payload or {}, event=event)
        try:
            return asyncio.run(webhook_delivery.function(context, parameters))  # type: ignore[arg-type]
        finally:
            context.resources.database.close()

    def log(self, webhook_id: int) -> list[Any]:
        statement = text("SELECT * FROM webhook_deliveries WHERE webhook_id = :id ORDER BY id")
        with self.database.transaction() as connection:
            return list(connection.execute(statement, {"id": webhook_id}))

    def row(self, webhook_id: int) -> Any:
        with self.database.transaction() as connection:
            return connection.execute(text("SELECT * FROM webhooks WHERE id = :id"), {"id": webhook_id}).one()
