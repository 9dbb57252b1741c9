"""Requests nobody means well with, and a database that goes away: an answer each time, never a stack trace."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import psycopg2
import pytest

from tests.integration.api.support import CREATE, Api, running_api
from tests.servers import TestServers
from tests.waiting import eventually

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/schedules/99999999999999999999999", None, 422),
        ("GET", "/api/v1/schedules/" + "9" * 5000, None, 404),
        ("GET", "/api/v1/schedules/-1", None, 404),
        ("GET", "/api/v1/schedules/abc", None, 404),
        ("GET", "/api/v1/schedules?task_type=%00", None, 422),
        ("GET", "/api/v1/schedules?task_type=%ff%fe", None, 200),
        ("GET", "/api/v1/schedules?page=1000000&page_size=100", None, 200),
        ("GET", "/api/v1/schedules?page=0", None, 422),
        ("GET", "/api/v1/schedules?tags.=x", None, 200),
        ("GET", "/api/v1/jobs?tags.schedule_id=x", None, 422),
        ("GET", "/api/v1/jobs?tags.schedule_id=" + "9" * 5000, None, 422),
        ("GET", "/api/v1/jobs?from=2026-01-01T00:00:00%2B20:05", None, 200),
        ("GET", "/api/v1/jobs/1/artifacts/..%2F..%2Fsecrets.key", None, 404),
        ("GET", "/api/v1/task-types/%00", None, 422),
        ("GET", "/nothing", None, 404),
        ("PUT", "/api/v1/schedules", b"{}", 405),
        ("PATCH", "/api/v1/schedules/preview", b"{}", 405),
        ("POST", "/api/v1/schedules", b"", 422),
        ("POST", "/api/v1/schedules", b"[]", 422),
        ("POST", "/api/v1/schedules", b"{", 422),
        ("POST", "/api/v1/schedules", b"\xff\xfe", 422),
        ("POST", "/api/v1/schedules", b'{"name": NaN}', 422),
        ("POST", "/api/v1/schedules", b'{"name": "\\ud800"}', 422),
        ("POST", "/api/v1/schedules", b"[" * 100_000, 422),
        ("POST", "/api/v1/schedules", b'{"name": 1e400}', 422),
        ("POST", "/api/v1/schedules", b'{"project_id": ' + b"9" * 5000 + b"}", 422),
        ("POST", "/api/v1/schedules/preview", b'{"frequency":"daily","after":"0001-01-01T00:00:00Z"}', 200),
        ("POST", "/api/v1/schedules/preview", b'{"frequency":"daily","after":"9999-12-31T23:59:59-23:59"}', 422),
        ("POST", "/api/v1/schedules/preview", b'{"frequency":"daily","start_time":"0001-01-01T00:00:00Z"}', 200),
        ("POST", "/api/v1/schedules/preview", b'{"frequency":"daily","end_time":"9999-12-31T00:00:00Z"}', 200),
        (
            "POST",
            "/api/v1/schedules/preview",
            b'{"frequency":"once","start_time":"9999-12-31T23:59:59Z","timezone":"Asia/Tokyo"}',
            422,
        ),
        (
            "POST",
            "/api/v1/schedules/preview",
            b'{"frequency":"once","start_time":"9998-12-31T23:59:59Z","timezone":"Asia/Tokyo","jitter_seconds":86400}',
            200,
        ),
    ],
)
def test_an_answer_each_time(api: Api, method: str, path: str, body: bytes | None, status: int) -> None:
    answer = api.client.request(method, path, content=body)
    assert answer.status_code == status, answer.text[:300]
    if status >= 400:
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["status"] == status


@pytest.mark.parametrize(
    "parameters", ['{"a": "x\\u0000y"}', '{"a": {"b": ["\\u0000"]}}', '{"\\u0000": 1}', '{"a": 1e300}']
)
def test_what_cannot_be_stored_is_named(api: Api, parameters: str) -> None:
    body = '{"project_id":1,"name":"x","task_type":"webhook_delivery","frequency":"daily","task_parameters":'
    body += f'{{"webhook_id":1,"payload":{parameters}}}}}'
    answer = api.client.post("/api/v1/schedules", content=body.encode())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("task_parameters.payload")


def test_an_escaped_backslash_is_no_nul(api: Api) -> None:
    made = api.create(name="C:\\u0000")
    assert made["name"] == "C:\\u0000"


def test_large_bodies_are_refused_before_they_are_read(api: Api) -> None:
    large = b"x" * (1 << 20) + b"x"
    assert api.client.post("/api/v1/schedules", content=large).status_code == 413
    chunks = (b"x" * 65_536 for _ in range(20))  # no length is announced
    assert api.client.post("/api/v1/schedules", content=chunks).status_code == 413


def test_endless_headers_are_cut_off(api: Api) -> None:
    """Sent without an end, as nobody does who wants an answer."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as endless:
        endless.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Endless: ")
        sent = 0
        try:
            while sent < 20_000_000:
                endless.sendall(b"a" * 65_536)
                sent += 65_536
        except OSError:  # cut off, as it should be
            pass
    assert sent < 10_000_000  # what the system's own buffers take included
    large = {f"X-{number}": "a" * 1_000 for number in range(50)}
    assert api.client.get("/livez", headers=large).status_code == 200


def test_pages_of_other_sites_cannot_ask(api: Api) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
        answer = api.client.post("/api/v1/schedules", json=CREATE, headers=headers)
        assert answer.status_code == 403
    assert api.client.post("/api/v1/schedules", json=CREATE, headers={"Origin": api.url}).status_code == 201
    answer = api.client.get("/api/v1/schedules", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("said", ["https://a.example,https://b.example:8443", '["https://a.example"]'])
def test_pages_of_named_origins_can_ask(database_url: str, tmp_path: Path, said: str) -> None:
    with running_api(tmp_path, database_url, COMMANDCENTER_CORS_ORIGINS=said) as api:
        named, other = {"Origin": "https://a.example"}, {"Origin": "https://c.example"}
        wanted = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "if-match,x-api-key"}
        preflight = api.client.options("/api/v1/schedules/1", headers={**named, **wanted})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        assert "PATCH" in preflight.headers["access-control-allow-methods"]
        made = api.client.post("/api/v1/schedules", json=CREATE, headers=named)
        assert (made.status_code, made.headers["access-control-allow-origin"]) == (201, "https://a.example")
        assert "ETag" in made.headers["access-control-expose-headers"]
        wrong = api.client.get("/api/v1/schedules/999999", headers=named)  # pages must be able to read errors, too
        assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (404, "https://a.example")
        assert api.client.post("/api/v1/schedules", json=CREATE, headers=other).status_code == 403
        assert "access-control-allow-origin" not in api.client.options("/api/v1/jobs", headers=other | wanted).headers


def test_a_site_that_resolves_to_this_machine_cannot_ask_where_nobody_is_asked_who_they_are(
    api: Api, guarded_api: Api
) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "[::1", "@localhost.evil"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        assert api.client.get("/api/v1/schedules", headers={"Host": host}).status_code == 403, host
        assert api.client.post("/api/v1/schedules", json=CREATE, headers=headers).status_code == 403, host
        assert guarded_api.client.get("/api/v1/schedules", headers={"Host": host}).status_code == 200, host
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "127.1.2.3", "[::1]:8000"):
        assert api.client.get("/api/v1/schedules", headers={"Host": host}).status_code == 200, host


@pytest.mark.parametrize("origin", ["http://[", "null", "http://", "://", "http://localhost.evil.example"])
def test_an_origin_that_is_not_ours_is_refused_whatever_it_looks_like(api: Api, origin: str) -> None:
    answer = api.client.post("/api/v1/schedules", json=CREATE, headers={"Origin": origin})
    assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)
    assert answer.headers["x-request-id"]
    own = api.client.post("/api/v1/schedules", json=CREATE, headers={"Origin": api.url})
    assert own.status_code == 201


def test_headers_and_request_ids(api: Api) -> None:
    answer = api.client.get("/api/v1/schedules/999999", headers={"X-Request-Id": "trace-me-1"})
    assert answer.headers["x-request-id"] == "trace-me-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in answer.headers
    written = lambda: [line for line in api.log.read_text().splitlines() if "trace-me-1" in line]  # noqa: E731
    (line,) = eventually(written, 5, "the access log's line")
    assert "schedule_id=999999" in line
    api.client.get("/api/v1/jobs?tags.schedule_id=999998", headers={"X-Request-Id": "trace-me-1b"})
    listing = lambda: [line for line in api.log.read_text().splitlines() if "trace-me-1b" in line]  # noqa: E731
    assert "schedule_id=999998" in eventually(listing, 5, "the access log's line")[0]
    page = api.client.get("/docs")
    assert page.status_code == 200
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    forged = api.client.get("/api/v1/schedules", headers={"X-Request-Id": "a b=c"}).headers["x-request-id"]
    assert forged != "a b=c"


def test_405_names_what_is_allowed(api: Api) -> None:
    answer = api.client.request("PUT", "/api/v1/schedules/1")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("https://github.com/a/b.git", True),
        ("ssh://git@example.com:22/a.git", True),
        ("https://ghp_0123456789abcdef@github.com/a/b.git", False),
        ("git@github.com:a/b.git", True),
        ("/srv/git/a.git", True),
        ("-uploadpack=x", False),
        ("--upload-pack=touch /tmp/x", False),
        ("ext::sh -c whoami", False),
        ("fd::17", False),
        ("https://user:secret@example.com/a.git", False),
        ("https://169.254.169.254/a.git", False),
        ("https://10.0.0.1/a.git", False),
        ("https://[::ffff:10.0.0.1]/a.git", False),
        ("https://0x7f.1/a.git", False),
        ("git@10.0.0.1:a.git", False),
        ("../relative", False),
        ("ftp://example.com/a", False),
    ],
)
def test_repository_urls(api: Api, url: str, accepted: bool) -> None:
    body = {"project_id": 1, "name": f"r {url}", "url": url}
    answer = api.client.post("/api/v1/repositories", json=body)
    assert answer.status_code == (201 if accepted else 422), answer.text
    if not accepted:
        assert answer.json()["errors"][0]["field"] == "url"


def test_webhook_secrets_are_written_only(api: Api) -> None:
    body = {"project_id": 1, "name": "secretive", "url": "https://example.com/hook"}
    made = api.client.post("/api/v1/webhooks", json=body, headers={"Idempotency-Key": "secretive"}).json()
    secret = made["secret"]
    assert secret.startswith("whsec_")
    path = f"/api/v1/webhooks/{made['id']}"
    assert "secret" not in api.client.get(path).json()
    assert api.client.get(path).json()["has_secret"] is True
    again = api.client.post("/api/v1/webhooks", json=body, headers={"Idempotency-Key": "secretive"}).json()
    assert again["secret"] == secret
    refused = api.client.patch(path, json={"secret": "a-wrong-secret-of-some-length"})
    assert refused.status_code == 422
    assert "a-wrong-secret" not in refused.text
    for table in ("webhooks", "outbox", "idempotency_keys"):
        stored = api.rows(f"SELECT {table}::text FROM {table}")
        assert secret not in str(stored)
        assert secret.encode().hex() not in str(stored)
    assert secret not in api.log.read_text()


def test_without_a_database_it_says_so_and_comes_back(tmp_path: Path) -> None:
    nowhere = "postgresql://commandcenter@127.0.0.1:1/commandcenter"
    with running_api(tmp_path, nowhere) as api:
        assert api.client.get("/livez").status_code == 200
        ready = api.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["postgres"].startswith("PostgreSQL does not answer")
        answer = api.client.post("/api/v1/schedules", json=CREATE)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["content-type"] == PROBLEM
        assert "Traceback" not in api.log.read_text()


def test_it_stops_within_two_seconds(database_url: str, tmp_path: Path) -> None:
    with running_api(tmp_path, database_url) as api:
        api.client.get("/api/v1/schedules")
        started = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(10) == 0
        assert time.monotonic() - started < 3


def test_bottomless_bodies_are_refused_where_they_would_be_stored(api: Api) -> None:
    """Events cannot carry more than 255 levels: what was stored would never have been published."""
    payload: object = "deep"
    for _ in range(200):
        payload = {"a": payload}
    body = {"project_id": 1, "name": "x", "task_type": "webhook_delivery", "frequency": "daily"}
    deep = {**body, "task_parameters": {"webhook_id": 1, "payload": payload}}
    answer = api.client.post("/api/v1/schedules", json=deep)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "task_parameters", "message": "more than 100 levels of nesting"}]
    made = api.create()
    assert api.client.patch(f"/api/v1/schedules/{made['id']}", json={"tags": {"a": payload}}).status_code == 422
    flat = {"webhook_id": 1, "payload": {"list": [{} for _ in range(500)]}}  # many brackets, few levels
    assert api.client.post("/api/v1/schedules", json={**body, "task_parameters": flat}).status_code == 201
    typed = {"name": "deep_type", "parameters_schema": {"type": "object", "properties": {"a": payload}}}
    assert api.client.post("/api/v1/task-types", json=typed).status_code == 422


def test_of_two_equal_names_in_a_body_one_counts_for_judging_and_storing(guarded_api: Api) -> None:
    key = guarded_api.client.post("/api/v1/keys", json={"name": "x", "role": "admin", "project_ids": [1]}).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    body = b'{"name":"twice","url":"https://example.com/a","project_id":%d,"project_id":%d}'
    other = guarded_api.client.post("/api/v1/projects", json={"name": "not theirs"}).json()["id"]
    refused = guarded_api.client.post("/api/v1/repositories", content=body % (1, other), headers=headers)
    assert refused.status_code == 422
    made = guarded_api.client.post("/api/v1/repositories", content=body % (other, 1), headers=headers)
    assert (made.status_code, made.json()["project_id"]) == (201, 1)


def test_a_method_is_what_it_says(api: Api) -> None:
    made = api.create()
    path = f"/api/v1/schedules/{made['id']}"
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert api.client.get(path, headers={header: "DELETE"}).status_code == 200
        assert api.client.post(f"{path}?_method=DELETE", headers={header: "DELETE"}).status_code == 405
    assert api.client.get(path).status_code == 200
    for method in ("TRACE", "CONNECT", "PROPFIND", "HEAD"):
        assert api.client.request(method, path).status_code == 405, method


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (["*"], 200),
        (['"1"'], 200),
        (['"7", "1"'], 200),
        (['"7"', '"1"'], 200),  # two header lines are one list
        (['W/"1"'], 412),
        (['"7"'], 412),
        (["1"], 412),
        (['"1'], 412),
        ([""], 200),
    ],
)
def test_if_match_compares_strongly(api: Api, tags: list[str], status: int) -> None:
    made = api.create()
    headers = [("If-Match", tag) for tag in tags]
    answer = api.client.patch(f"/api/v1/schedules/{made['id']}", json={"name": "matched"}, headers=headers)
    assert answer.status_code == status


def test_no_header_of_an_answer_can_be_written_by_a_caller(api: Api) -> None:
    made = api.create(name="a\r\nX-Injected: 1")
    job = api.client.post(f"/api/v1/schedules/{made['id']}/execute", json={"force": True}).json()["job_id"]
    # A worker elsewhere publishes what it likes as its artifacts.
    stored = '[{"name": "a.txt", "media_type": "text/html\\r\\nX-Injected: 1", "size": 3, "sha256": "x"},'
    stored += ' {"name": "../../secrets.key", "media_type": "text/plain", "size": 3, "sha256": "x"}]'
    api.rows("UPDATE jobs SET status = 'succeeded', artifacts = %s::jsonb WHERE id = %s", stored, job)
    ((day,),) = api.rows("SELECT (scheduled_for AT TIME ZONE 'UTC')::date FROM jobs WHERE id = %s", job)
    folder = api.log.parent / "artifacts" / str(day) / str(job) / "0"
    attempt = api.client.get(f"/api/v1/jobs/{job}").json()["attempt"]
    folder = folder.with_name(str(attempt))
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"abc")
    answer = api.client.get(f"/api/v1/jobs/{job}/artifacts/a.txt")
    assert (answer.status_code, answer.content) == (200, b"abc")
    assert "x-injected" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    for name in ("..%2F..%2Fsecrets.key", "%2e%2e%2f%2e%2e%2fsecrets.key", "a.txt%00"):
        assert api.client.get(f"/api/v1/jobs/{job}/artifacts/{name}").status_code in (404, 422), name
    for headers in ({"X-Request-Id": "a b=c"}, {"Idempotency-Key": "a\tb"}):
        answer = api.client.post("/api/v1/schedules", json=CREATE, headers=headers)
        assert answer.headers["x-request-id"] != "a b=c"
        assert answer.status_code in (201, 422)


@pytest.mark.parametrize(
    "kind", ["application/xml", "multipart/form-data", "text/html", "application/json; charset=utf-16"]
)
def test_another_media_type_is_no_way_round(api: Api, kind: str) -> None:
    body = b'{"project_id": 1, "name": "x", "url": "ext::sh -c id"}'
    answer = api.client.post("/api/v1/repositories", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM


def test_an_api_whose_tables_are_not_there_yet_is_not_ready(test_servers: TestServers, tmp_path: Path) -> None:
    database_url = test_servers.create_database(migrated=False)
    try:
        with running_api(tmp_path, database_url) as api:
            lacking = lambda words: words in api.client.get("/readyz").text  # noqa: E731
            eventually(lambda: lacking("the database has no tables yet"), 10)
            assert api.client.get("/readyz").status_code == 503
            owner = psycopg2.connect(test_servers.owner_url(database_url).replace("+psycopg2", ""))
            with owner, owner.cursor() as cursor:
                cursor.execute("CREATE TABLE alembic_version (version_num text)")
                cursor.execute("INSERT INTO alembic_version VALUES ('0012_audit_default')")
            eventually(lambda: lacking("the tables cannot be read: permission denied"), 10)
            with owner, owner.cursor() as cursor:
                cursor.execute("GRANT SELECT ON alembic_version TO public")
            eventually(lambda: lacking("the tables are at 0012_audit_default"), 10)
            with owner, owner.cursor() as cursor:
                cursor.execute("UPDATE alembic_version SET version_num = '9999_of_a_later_version'")
            owner.close()
            eventually(lambda: api.client.get("/readyz").status_code == 200, 10)
    finally:
        test_servers.drop_database(database_url)
