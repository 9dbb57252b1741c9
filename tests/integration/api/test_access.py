"""Who may do what: keys, roles, tenants, tokens, rates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.local.settings import PROJECT_ROOT
from tests.integration.api.conftest import ADMIN_KEY
from tests.integration.api.support import CREATE, Api, running_api

Tenant = dict[str, Any]


def make_key(api: Api, role: str, project_ids: list[int] | None, name: str = "test") -> dict[str, Any]:
    answer = api.client.post("/api/v1/keys", json={"name": name, "role": role, "project_ids": project_ids})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def ask(api: Api, key: str | None, method: str, path: str, **more: Any) -> httpx2.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=api.url, timeout=20, trust_env=False) as client:
        return client.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)


@pytest.fixture(scope="module")
def tenants(guarded_api: Api) -> tuple[Tenant, Tenant]:
    """Two projects, each with one of everything, and a key that sees only its own."""
    return _tenant(guarded_api, "one"), _tenant(guarded_api, "two")


def _tenant(api: Api, name: str) -> Tenant:
    project = api.client.post("/api/v1/projects", json={"name": name}).json()["id"]
    schedule = api.create(project_id=project, name=name)["id"]
    repository = {"project_id": project, "name": name, "url": "https://example.com/x.git"}
    webhook = {"project_id": project, "name": name, "url": "https://example.com/x"}
    return {
        "project_id": project,
        "schedule_id": schedule,
        "job_id": api.client.post(f"/api/v1/schedules/{schedule}/execute", json={"force": True}).json()["job_id"],
        "repository_id": api.client.post("/api/v1/repositories", json=repository).json()["id"],
        "webhook_id": api.client.post("/api/v1/webhooks", json=webhook).json()["id"],
        "key": make_key(api, "admin", [project], name)["key"],
        "viewer": make_key(api, "viewer", [project], name)["key"],
        "key_id": make_key(api, "viewer", [project], name)["id"],
        "operator": make_key(api, "operator", [project], name)["key"],
        "dead_letter_id": _letter(api, project, schedule),
    }


def _letter(api: Api, project: int, schedule: int) -> int:
    """A dead letter as health keeps it."""
    ((letter_id,),) = api.rows(
        "INSERT INTO dead_letters (kafka_partition, kafka_offset, put_aside_at, reason, consumer, topic, truncated,"
        " key, headers, value, schedule_id, project_id) VALUES (0, %s, now(), 'unreadable', 'health', 'runs.results',"
        " false, 'k', '[]', 'v', %s, %s) RETURNING id",
        schedule,
        schedule,
        project,
    )
    return int(letter_id)


IDS = ("schedule_id", "job_id", "project_id", "repository_id", "webhook_id", "key_id", "dead_letter_id")


def _path(template: str, tenant: Tenant) -> str:
    """A documented path with a tenant's ids. A new parameter must be placed here, or nothing would be found there."""
    path = template.replace("{attempt}", "1").replace("{name}", "sync")
    for parameter in IDS:
        path = path.replace(f"{{{parameter}}}", str(tenant[parameter]))
    assert "{" not in path, f"{path}: its parameter is new; give the tenants one"
    return path


BODIES: dict[str, dict[str, Any]] = {
    "updateSchedule": {"name": "taken over"},
    "executeSchedule": {"force": True},
    "claimAttempt": {"worker": "w"},
    "renewAttempt": {"worker": "w"},
    "createProject": {"name": "x"},
    "createKey": {"name": "x", "role": "viewer"},
    "updateProject": {"name": "taken over"},
    "updateRepository": {"name": "taken over"},
    "updateWebhook": {"name": "taken over"},
}
EVERYBODYS = {"listTaskTypes", "getTaskType", "registerTaskType", "previewSchedule", "getDispatcher"}
"""Operations without a project: task types and who leads are everybody's, a preview stores nothing."""
CREATIONS: dict[str, dict[str, Any]] = {
    "createSchedule": dict(CREATE),
    "createRepository": {"name": "r", "url": "https://example.com/y.git"},
    "createWebhook": {"name": "w", "url": "https://example.com/y"},
}
LISTS = {
    "listSchedules",
    "listJobs",
    "listRepositories",
    "listWebhooks",
    "listProjects",
    "listAudit",
    "getHealthReport",
}
LISTS |= {"getStatistics", "listDueSchedules", "listDeadLetters"}
OVER_ALL = {"createProject", "createKey", "listKeys", "getKey", "rotateKey", "revokeKey", "verifyAudit"}


def test_the_other_tenant_finds_nothing_on_any_route(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    """Every route of the OpenAPI document, with the other tenant's ids. A new route fails here until it is placed."""
    own, other = tenants
    report = (
        "INSERT INTO health_reports (reported_at, duration_seconds, schedules, bands) VALUES (now(), 0, 12345, '{}')"
    )
    guarded_api.rows(report)
    document = guarded_api.client.get("/openapi.json").json()
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            path = _path(template, other)
            # The path leads to a route, and to something: what the other tenant is not told about is there.
            assert ask(guarded_api, None, "PUT", path).status_code == 405, path
            if method == "get" and name not in OVER_ALL | {"getArtifact"}:
                assert ask(guarded_api, other["key"], "GET", path).status_code == 200, name
            if name in EVERYBODYS:
                continue
            if name in CREATIONS:
                body = {**CREATIONS[name], "project_id": other["project_id"]}
                assert ask(guarded_api, own["key"], "POST", path, json=body).status_code == 422, name
                continue
            if name in LISTS:
                filters = {one["name"] for one in operation["parameters"] if one["in"] == "query"} & {"project_id"}
                asked = dict.fromkeys(filters, other["project_id"])
                found = ask(guarded_api, own["key"], "GET", path, params=asked).json()
                seen = ask(guarded_api, own["key"], "GET", path).json()
                assert _nothing_in(found, name, own), (name, found)
                assert f'"project_id": {other["project_id"]},' not in json.dumps(seen), name
                continue
            body = BODIES.get(name, {})
            status = ask(guarded_api, own["key"], method.upper(), path, json=body or None).status_code
            assert status == (403 if name in OVER_ALL else 404), (name, status)
    # And nothing of the other has changed.
    assert guarded_api.client.get(f"/api/v1/schedules/{other['schedule_id']}").json()["version"] == 1


def _nothing_in(found: Any, name: str, own: Tenant) -> bool:
    if isinstance(found, list):
        return found == []
    if name == "getStatistics":
        return bool(found["total_schedules"] == 0)
    if name == "listProjects":  # it takes no filter: the caller's own projects, always
        return [one["id"] for one in found["projects"]] == [own["project_id"]]
    if name == "getHealthReport":
        return bool(found["issues"] == [] and found["schedules"] == 0 and found["total"] == 0)
    return bool(found["total"] == 0)


def test_every_route_needs_credentials(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    document = guarded_api.client.get("/openapi.json").json()
    for template, operations in document["paths"].items():
        path = _path(template, tenants[0])
        for method in operations:
            for key in (None, "nonsense", "cc_0123456789ab_" + "x" * 43):
                answer = ask(guarded_api, key, method.upper(), path)
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_viewer_changes_nothing(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    own, _ = tenants
    path = f"/api/v1/schedules/{own['schedule_id']}"
    assert ask(guarded_api, own["viewer"], "GET", path).status_code == 200
    changes = [("PATCH", path, {"name": "x"}), ("DELETE", path, None), ("POST", f"{path}/disable", None)]
    changes += [("POST", "/api/v1/schedules", {**CREATE, "project_id": own["project_id"]})]
    for method, target, body in changes:
        answer = ask(guarded_api, own["viewer"], method, target, json=body)
        assert answer.status_code == 403
        assert "operator" in answer.json()["detail"]


ADMINS = {"createProject", "updateProject", "registerTaskType"} | (OVER_ALL - {"createProject"})


def test_every_route_asks_for_its_role(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    """With the tenant's own things: a viewer changes nothing, an operator nothing that is an admin's."""
    own, _ = tenants
    document = guarded_api.client.get("/openapi.json").json()
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            name, path = operation["operationId"], _path(template, own)
            body = CREATIONS.get(name, BODIES.get(name))
            needs_more = name in ADMINS or (method != "get" and name != "previewSchedule")
            refused = ask(guarded_api, own["viewer"], method.upper(), path, json=body).status_code == 403
            assert refused is needs_more, (name, "viewer")
            if name in ADMINS:
                answer = ask(guarded_api, own["operator"], method.upper(), path, json=body)
                assert answer.status_code == 403, (name, "operator")
                assert "admin" in answer.json()["detail"], name


def test_an_admin_of_one_project_cannot_widen_their_sight(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    own, other = tenants
    for project_ids in (None, [other["project_id"]], [own["project_id"]]):
        wanted = {"name": "more", "role": "admin", "project_ids": project_ids}
        assert ask(guarded_api, own["key"], "POST", "/api/v1/keys", json=wanted).status_code == 403
    for role in ("operator", "viewer"):
        wanted = {"name": "more", "role": "admin", "project_ids": [own["project_id"]]}
        answer = ask(
            guarded_api, own["operator" if role == "operator" else "viewer"], "POST", "/api/v1/keys", json=wanted
        )
        assert answer.status_code == 403
    # No field of an object moves it to another project, or sets what the system keeps.
    for field, value in (("project_id", other["project_id"]), ("id", 1), ("version", 9), ("success_count", 5)):
        for kind in ("schedules", "repositories", "webhooks"):
            path = f"/api/v1/{kind}/{own[{'repositories': 'repository'}.get(kind, kind[:-1]) + '_id']}"
            answer = ask(guarded_api, own["key"], "PATCH", path, json={field: value})
            assert answer.status_code == 422, (kind, field)
            assert answer.json()["errors"][0]["message"] == "there is no such field"


def test_answers_under_an_idempotency_key_are_one_callers(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    """Two keys may have the same name, and the callers may guess each other's request whole."""
    own, other = tenants
    first, second = (make_key(guarded_api, "operator", [own["project_id"]], "ci")["key"] for _ in range(2))
    body = {"project_id": own["project_id"], "name": "secretive", "url": "https://example.com/x"}
    headers = {"Idempotency-Key": "guessed"}
    made = ask(guarded_api, first, "POST", "/api/v1/webhooks", json=body, headers=headers)
    assert made.status_code == 201
    again = ask(guarded_api, first, "POST", "/api/v1/webhooks", json=body, headers=headers)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == made.json()
    stranger = ask(guarded_api, second, "POST", "/api/v1/webhooks", json=body, headers=headers)
    assert stranger.status_code == 409  # the name is taken: the request was judged, not answered from memory
    assert made.json()["secret"] not in stranger.text
    foreign = make_key(guarded_api, "operator", [other["project_id"]], "ci")["key"]
    assert ask(guarded_api, foreign, "POST", "/api/v1/webhooks", json=body, headers=headers).status_code == 422


def test_a_key_is_made_once_under_an_idempotency_key(guarded_api: Api) -> None:
    body = {"name": "once", "role": "viewer"}
    headers = {"Idempotency-Key": "make-it-once"}
    first, second = (guarded_api.client.post("/api/v1/keys", json=body, headers=headers) for _ in range(2))
    assert first.status_code == 201
    assert second.json() == first.json()
    assert first.json()["key"] not in str(guarded_api.rows("SELECT idempotency_keys::text FROM idempotency_keys"))


def test_keys_are_shown_once_rotated_and_revoked(guarded_api: Api) -> None:
    made = make_key(guarded_api, "operator", None, "rotated")
    assert ask(guarded_api, made["key"], "GET", "/api/v1/schedules").status_code == 200
    listed = guarded_api.client.get("/api/v1/keys", params={"page_size": 100}).json()["keys"]
    assert all("key" not in one and "digest" not in one for one in listed)
    secret = made["key"].split("_", 2)[2]  # it may hold further underscores itself
    for table in ("api_keys", "idempotency_keys"):
        assert secret not in str(guarded_api.rows(f"SELECT {table}::text FROM {table}"))
    assert secret not in guarded_api.log.read_text()
    rotated = guarded_api.client.post(f"/api/v1/keys/{made['id']}/rotate").json()
    assert ask(guarded_api, made["key"], "GET", "/api/v1/schedules").status_code == 401
    assert ask(guarded_api, rotated["key"], "GET", "/api/v1/schedules").status_code == 200
    by_header = ask(guarded_api, None, "GET", "/api/v1/schedules", headers={"X-API-Key": rotated["key"]})
    assert by_header.status_code == 200
    assert guarded_api.client.delete(f"/api/v1/keys/{made['id']}").status_code == 204
    assert ask(guarded_api, rotated["key"], "GET", "/api/v1/schedules").status_code == 401
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    body = {"name": "expired", "role": "admin", "expires_at": past}
    expired = guarded_api.client.post("/api/v1/keys", json=body).json()["key"]
    assert ask(guarded_api, expired, "GET", "/api/v1/schedules").status_code == 401


def test_a_wrong_secret_is_no_use_of_a_key(guarded_api: Api) -> None:
    """Whoever looks for keys that nobody uses must not be misled by those who guess."""
    made = make_key(guarded_api, "viewer", None, "unused")
    shown = lambda: guarded_api.client.get(f"/api/v1/keys/{made['id']}").json()["last_used_at"]  # noqa: E731
    guess = f"cc_{made['prefix']}_{'x' * 43}"
    assert ask(guarded_api, guess, "GET", "/api/v1/schedules").status_code == 401
    assert shown() is None
    assert ask(guarded_api, made["key"], "GET", "/api/v1/schedules").status_code == 200
    assert shown() is not None


def test_the_change_event_names_the_key(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    own, _ = tenants
    body = {**CREATE, "project_id": own["project_id"], "name": "who was it"}
    made = ask(guarded_api, own["key"], "POST", "/api/v1/schedules", json=body).json()
    (message,) = guarded_api.messages(made["id"])
    actor = json.loads(message["value"])["actor"]
    assert (actor["name"], actor["address"]) == ("key:one", "127.0.0.1")
    assert actor["identity"].removeprefix("key:").isdecimal()  # two keys may have one name


def test_changes_of_objects_are_announced_without_secrets(guarded_api: Api, tenants: tuple[Tenant, Tenant]) -> None:
    """Who changed a webhook's address, who rotated a key: for the audit log."""
    own, _ = tenants
    admin = guarded_api.client
    guarded_api.rows("DELETE FROM outbox")
    project = admin.post("/api/v1/projects", json={"name": "announced"}).json()
    secrets: list[str] = []
    for kind in ("repositories", "webhooks"):
        body = {"project_id": own["project_id"], "name": "announced", "url": "https://example.com/x"}
        made = ask(guarded_api, own["key"], "POST", f"/api/v1/{kind}", json=body).json()
        secrets.append(made.get("secret") or "no secret")
        path = f"/api/v1/{kind}/{made['id']}"
        for _ in range(2):  # what changes nothing is not announced
            ask(guarded_api, own["key"], "PATCH", path, json={"url": "https://example.com/y"})
        ask(guarded_api, own["key"], "DELETE", path)
    admin.patch(f"/api/v1/projects/{project['id']}", json={"weight": 3})
    key = make_key(guarded_api, "viewer", [project["id"]], "announced")
    rotated = admin.post(f"/api/v1/keys/{key['id']}/rotate").json()
    for _ in range(2):
        admin.delete(f"/api/v1/keys/{key['id']}")
    schema = {"type": "object"}
    admin.post("/api/v1/task-types", json={"name": "announced", "parameters_schema": schema})
    stored = [
        one for (text,) in guarded_api.rows("SELECT messages FROM outbox ORDER BY id") for one in json.loads(text)
    ]
    assert {one["topic"] for one in stored} == {"objects"}
    events = [json.loads(one["value"]) for one in stored]
    changes = ["created", "updated", "deleted"]
    assert [(one["kind"], one["change"]) for one in events] == [
        ("project", "created"),
        *(("repository", change) for change in changes),
        *(("webhook", change) for change in changes),
        ("project", "updated"),
        ("key", "created"),
        ("key", "rotated"),
        ("key", "revoked"),
        ("task_type", "created"),
    ]
    moved = events[5]
    assert (moved["before"]["url"], moved["after"]["url"]) == ("https://example.com/x", "https://example.com/y")
    assert (moved["actor"]["name"], moved["project_id"]) == ("key:one", own["project_id"])
    assert (events[0]["project_id"], events[9]["project_id"]) == (project["id"], None)
    assert events[9]["actor"]["name"] == "admin-key"
    assert events[9]["secret_changed"]
    for secret in (*secrets, key["key"], rotated["key"]):
        assert secret not in str(stored)


def test_no_access_control_is_refused_beyond_loopback(tmp_path: Path) -> None:
    environment = {**os.environ, "COMMANDCENTER_HOST": "0.0.0.0", "COMMANDCENTER_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "services.api"],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "COMMANDCENTER_AUTH=none is refused on 0.0.0.0" in ended.stderr
    assert "Traceback" not in ended.stderr


class Issuer:
    """An OIDC issuer: its keys over HTTP, and tokens signed with them."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        published = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        document = json.dumps({"keys": [{**published, "kid": "k1", "use": "sig", "alg": "RS256"}]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing: the test speaks."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, **changes: Any) -> str:
        claims = {
            "iss": self.url,
            "aud": "commandcenter",
            "sub": "alice",
            "exp": datetime.now(UTC) + timedelta(minutes=5),
            "commandcenter_role": "operator",
            "commandcenter_projects": [1],
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "k1"})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


def test_tokens_of_the_pinned_issuer_count(database_url: str, tmp_path: Path, issuer: Issuer) -> None:
    environment = {
        "COMMANDCENTER_AUTH": "keys",
        "COMMANDCENTER_OIDC_ISSUER": issuer.url,
        "COMMANDCENTER_OIDC_AUDIENCE": "commandcenter",
    }
    with running_api(tmp_path, database_url, **environment) as api:

        def status(token: str, method: str = "GET", path: str = "/api/v1/schedules", **more: Any) -> int:
            return ask(api, token, method, path, **more).status_code

        assert status(issuer.token()) == 200
        assert status(issuer.token(), "POST", json=CREATE) == 201
        assert status(issuer.token(commandcenter_projects=None), "POST", json=CREATE) == 422  # sees no project
        assert status(issuer.token(commandcenter_role="viewer"), "POST", json=CREATE) == 403
        assert status(issuer.token(commandcenter_role="king")) == 401
        assert status(issuer.token(aud="another")) == 401
        assert status(issuer.token(iss="https://elsewhere.example")) == 401
        assert status(issuer.token(exp=datetime.now(UTC) - timedelta(minutes=5))) == 401
        assert status(issuer.token(exp=None)) == 401
        assert status(issuer.token()[:-4] + "AAAA") == 401
        unsigned = jwt.encode({"iss": issuer.url, "aud": "commandcenter", "sub": "x"}, "", algorithm="none")
        assert status(unsigned) == 401


def test_an_issuer_that_is_away_is_no_wrong_token(database_url: str, tmp_path: Path) -> None:
    gone = Issuer()
    gone.server.shutdown()
    gone.server.server_close()
    environment = {
        "COMMANDCENTER_AUTH": "keys",
        "COMMANDCENTER_OIDC_ISSUER": gone.url,
        "COMMANDCENTER_OIDC_AUDIENCE": "commandcenter",
    }
    with running_api(tmp_path, database_url, **environment) as api:
        answer = ask(api, gone.token(), "GET", "/api/v1/schedules")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0


def test_too_many_requests(database_url: str, tmp_path: Path) -> None:
    with running_api(tmp_path, database_url, COMMANDCENTER_REQUESTS_PER_MINUTE="60") as api:
        answers = [api.client.get("/api/v1/projects") for _ in range(14)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
        assert api.client.get("/livez").status_code == 200


def test_wrong_credentials_are_counted_and_lock_nobody_out(database_url: str, tmp_path: Path) -> None:
    settings = {"COMMANDCENTER_AUTH": "keys", "COMMANDCENTER_ADMIN_KEY": ADMIN_KEY}
    with running_api(tmp_path, database_url, COMMANDCENTER_REQUESTS_PER_MINUTE="60", **settings) as api:
        answers = [ask(api, f"wrong-{number}", "GET", "/api/v1/projects") for number in range(14)]
        assert [answer.status_code for answer in answers[:10]] == [401] * 10
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1
        assert ask(api, ADMIN_KEY, "GET", "/api/v1/projects").status_code == 200
