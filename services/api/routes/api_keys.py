"""`/api/v1/keys`: access to this API. A key is shown once, when it is made or rotated."""

from fastapi import APIRouter, Response

from services.api.access import keys
from services.api.actions import objects
from services.api.answers import Answer, page_of, reply
from services.api.caller import Admin, Caller
from services.api.models.objects import KeyCreate, KeyCreated, KeyList, KeyShape, shown_row
from services.api.problems import Problem, not_found
from services.api.routes.documented import WRITES, errors
from services.api.routes.parameters import IdempotencyKey, ObjectId, PageNumber, PageSize
from services.api.routing import JsonRoute
from shared.storage import api_keys
from shared.storage.database import Connection

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=JsonRoute)


@router.post(
    "",
    status_code=201,
    response_model=KeyCreated,
    responses=errors(*WRITES),
    operation_id="createKey",
    summary="Make an API key",
)
def create_key(body: KeyCreate, caller: Admin, idempotency_key: IdempotencyKey = None) -> Response:
    """For a role, and for some projects or for all. Only its digest is stored."""
    _over_all(caller)
    made = keys.generate()

    def work(connection: Connection) -> Answer:
        row = api_keys.insert(
            connection,
            name=body.name,
            prefix=made.prefix,
            digest=made.digest,
            role=body.role,
            project_ids=body.project_ids,
            created_by=caller.principal.name,
            expires_at=body.expires_at,
        )
        log = (f"Made key {row.id} ({row.name}) with the role {row.role}", {"action": "key.created"})
        headers = {"Location": f"/api/v1/keys/{row.id}"}
        objects.note(connection, caller, "key", "created", after=shown_row(row._mapping))
        return Answer(201, {**shown_row(row._mapping), "key": made.text}, headers, log)

    return caller.write(work)


@router.get("", response_model=KeyList, responses=errors(), operation_id="listKeys", summary="List API keys")
def list_keys(caller: Admin, page: PageNumber = 1, page_size: PageSize = 50) -> Response:
    """Revoked ones too, without their secrets."""
    _over_all(caller)

    def work(connection: Connection) -> Response:
        rows, total = api_keys.list_page(connection, page, page_size)
        return reply(page_of("keys", [shown_row(row._mapping) for row in rows], total, page, page_size))

    return caller.read(work)


@router.get(
    "/{key_id:int}", response_model=KeyShape, responses=errors(404), operation_id="getKey", summary="Get an API key"
)
def get_key(key_id: ObjectId, caller: Admin) -> Response:
    """Without its secret. A revoked one is gone; the list remembers it."""
    _over_all(caller)

    def work(connection: Connection) -> Response:
        row = api_keys.get(connection, key_id)
        if row is None or row.revoked_at is not None:
            raise not_found("key", key_id)
        return reply(shown_row(row._mapping))

    return caller.read(work)


@router.post(
    "/{key_id:int}/rotate",
    response_model=KeyCreated,
    responses=errors(404, *WRITES),
    operation_id="rotateKey",
    summary="Give a key a new secret",
)
def rotate_key(key_id: ObjectId, caller: Admin, idempotency_key: IdempotencyKey = None) -> Response:
    """The old secret ends at once; other api replicas notice within five seconds."""
    _over_all(caller)
    made = keys.generate()

    def work(connection: Connection) -> Answer:
        before = api_keys.get(connection, key_id, lock=True)
        if before is None or before.revoked_at is not None:
            raise not_found("key", key_id)
        row = api_keys.rotate(connection, key_id, made.prefix, made.digest)
        shown, old = shown_row(row._mapping), shown_row(before._mapping)
        objects.note(connection, caller, "key", "rotated", before=old, after=shown, secret_changed=True)
        log = (f"Rotated key {key_id}", {"action": "key.rotated"})
        return Answer(200, {**shown, "key": made.text}, log=log)

    response = caller.write(work)
    caller.context.authenticator.forget()
    return response


@router.delete(
    "/{key_id:int}", status_code=204, responses=errors(404), operation_id="revokeKey", summary="Revoke an API key"
)
def revoke_key(key_id: ObjectId, caller: Admin) -> Response:
    """For good; other api replicas notice within five seconds."""
    _over_all(caller)

    def work(connection: Connection) -> Answer:
        row = api_keys.get(connection, key_id, lock=True)
        if row is None or row.revoked_at is not None:
            raise not_found("key", key_id)
        api_keys.revoke(connection, key_id)
        objects.note(connection, caller, "key", "revoked", before=shown_row(row._mapping))
        return Answer(204, log=(f"Revoked key {key_id}", {"action": "key.revoked"}))

    response = caller.write(work)
    caller.context.authenticator.forget()
    return response


def _over_all(caller: Caller) -> None:
    """Keys open projects: only who sees every project may hand them out."""
    if caller.principal.project_ids is not None:
        raise Problem(403, "Only a caller who sees every project manages keys.")
