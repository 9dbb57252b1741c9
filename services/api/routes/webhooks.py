"""`/api/v1/webhooks`: where deliveries go. Secrets are sealed at rest and never answered."""

from typing import Any

from fastapi import APIRouter, Response

from services.api.actions import objects, targets
from services.api.answers import Answer, etag, page_of, reply
from services.api.caller import Caller, Operator, Viewer
from services.api.models.objects import (
    WebhookCreate,
    WebhookCreated,
    WebhookDeliveryList,
    WebhookList,
    WebhookShape,
    WebhookUpdate,
    shown_row,
)
from services.api.preconditions import check_version
from services.api.problems import invalid, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, IfMatch, ObjectId, PageNumber, PageSize, ProjectFilter
from services.api.routing import JsonRoute
from shared.secrets import SecretUnreadable
from shared.storage import deliveries, webhooks
from shared.storage.database import Connection
from shared.webhook_secrets import new_secret, open_secrets, rotated, seal_secrets

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"], route_class=JsonRoute)
_DEFAULTS: dict[str, Any] = {"events": [], "enabled": True}


@router.post(
    "",
    status_code=201,
    response_model=WebhookCreated,
    responses=errors(*WRITES),
    operation_id="createWebhook",
    summary="Register a webhook",
)
def create_webhook(body: WebhookCreate, caller: Operator, idempotency_key: IdempotencyKey = None) -> Response:
    """Without a secret one is made, and shown in this answer only."""
    made = None if body.secret else new_secret()

    def work(connection: Connection) -> Answer:
        wrong = targets.wrong_webhook(body.url, body.secret, caller)
        wrong += targets.unknown_project(connection, body.project_id, caller)
        if wrong:
            raise invalid(wrong)
        values = body.model_dump(exclude={"secret"})
        values["secrets_encrypted"] = seal_secrets(caller.context.secrets, body.project_id, [str(body.secret or made)])
        row = webhooks.insert(connection, values)
        log = (f"Registered webhook {row.id} ({row.name})", {"action": "webhook.created"})
        headers = {"Location": f"/api/v1/webhooks/{row.id}", **etag(row.version)}
        objects.note(connection, caller, "webhook", "created", after=_shown(row._mapping))
        return Answer(201, {**_shown(row._mapping), "secret": made}, headers, log)

    return caller.write(work)


@router.get("", response_model=WebhookList, responses=errors(), operation_id="listWebhooks", summary="List webhooks")
def list_webhooks(
    caller: Viewer, project_id: ProjectFilter = None, page: PageNumber = 1, page_size: PageSize = 50
) -> Response:
    """Of one project, or of all in sight, oldest first."""

    def work(connection: Connection) -> Response:
        rows, total = webhooks.list_page(connection, caller.principal.narrowed(project_id), page, page_size)
        return reply(page_of("webhooks", [_shown(row._mapping) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{webhook_id:int}",
    response_model=WebhookShape,
    responses=errors(404),
    operation_id="getWebhook",
    summary="Get a webhook",
)
def get_webhook(webhook_id: ObjectId, caller: Viewer) -> Response:
    """By its id, without its secret."""

    def work(connection: Connection) -> Response:
        row = webhooks.get(connection, webhook_id)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("webhook", webhook_id)
        return reply(_shown(row._mapping), headers=etag(row.version))

    return caller.read(work)


@router.patch(
    "/{webhook_id:int}",
    response_model=WebhookShape,
    responses=errors(404, 412, *WRITES),
    operation_id="updateWebhook",
    summary="Update a webhook",
)
def update_webhook(webhook_id: ObjectId, body: WebhookUpdate, caller: Operator, if_match: IfMatch = None) -> Response:
    """Fields left out stay as they are; null gives one back its default. A new secret signs together with the one
    before, until the next change.
    """

    def work(connection: Connection) -> Answer:
        row = webhooks.get(connection, webhook_id, lock=True)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("webhook", webhook_id)
        check_version(caller.request, row.version)
        sent = {
            name: _DEFAULTS.get(name) if value is None else value
            for name, value in body.model_dump(exclude_unset=True).items()
            if value is not None or name in _DEFAULTS
        }
        url = sent.get("url", row.url)
        # What is stored was judged when it came: a setting that changed since must not keep it from being disabled.
        wrong = targets.wrong_webhook(None if url == row.url else url, sent.get("secret"), caller)
        if wrong:
            raise invalid(wrong)
        kept = {name: sent.get(name, row._mapping[name]) for name in ("name", "url", "events", "enabled")}
        if "secret" not in sent and all(kept[name] == row._mapping[name] for name in kept):
            return Answer(200, _shown(row._mapping), etag(row.version))
        sealed = None if row.secrets_encrypted is None else bytes(row.secrets_encrypted)
        if "secret" in sent:
            secrets = rotated(_unseal(caller, row.project_id, sealed), str(sent["secret"]))
            sealed = seal_secrets(caller.context.secrets, row.project_id, secrets)
        changed = webhooks.update(connection, webhook_id, kept | {"secrets_encrypted": sealed})
        before, after = _shown(row._mapping), _shown(changed._mapping)
        again = "secret" in sent
        objects.note(connection, caller, "webhook", "updated", before=before, after=after, secret_changed=again)
        return Answer(200, _shown(changed._mapping), etag(changed.version))

    return caller.write(work)


@router.delete(
    "/{webhook_id:int}",
    status_code=204,
    responses=errors(404, 412),
    operation_id="deleteWebhook",
    summary="Forget a webhook",
)
def delete_webhook(webhook_id: ObjectId, caller: Operator, if_match: IfMatch = None) -> Response:
    """Its secrets are erased; jobs that name it fail saying so."""

    def work(connection: Connection) -> Answer:
        row = webhooks.get(connection, webhook_id, lock=True)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("webhook", webhook_id)
        check_version(caller.request, row.version)
        webhooks.delete(connection, webhook_id)
        objects.note(connection, caller, "webhook", "deleted", before=_shown(row._mapping))
        return Answer(204, log=(f"Deleted webhook {webhook_id}", {"action": "webhook.deleted"}))

    return caller.write(work)


@router.get(
    "/{webhook_id:int}/deliveries",
    response_model=WebhookDeliveryList,
    responses=errors(404),
    operation_id="listWebhookDeliveries",
    summary="Read a webhook's delivery log",
)
def list_webhook_deliveries(
    webhook_id: ObjectId, caller: Viewer, page: PageNumber = 1, page_size: PageSize = 50
) -> Response:
    """Every attempt of the last 30 days (a setting), newest first: what was answered, how fast, and what went wrong."""

    def work(connection: Connection) -> Response:
        row = webhooks.get(connection, webhook_id)
        if row is None or not caller.principal.sees(row.project_id):
            raise not_found("webhook", webhook_id)
        rows, total = deliveries.list_page(connection, webhook_id, page, page_size)
        return reply(page_of("deliveries", [dict(one._mapping) for one in rows], total, page, page_size))

    return caller.read(work)


def _unseal(caller: Caller, project_id: int, sealed: bytes | None) -> list[str]:
    """The stored secrets; none where they were sealed with a key that is gone: they cannot sign any more either."""
    if sealed is None:
        return []
    try:
        return open_secrets(caller.context.secrets, project_id, sealed)
    except SecretUnreadable:
        return []


def _shown(row: Any) -> dict[str, Any]:
    shown = shown_row(row, "secrets_encrypted")
    has_secret = row["secrets_encrypted"] is not None
    names = list(WebhookShape.model_fields)
    return {name: has_secret if name == "has_secret" else shown[name] for name in names}
