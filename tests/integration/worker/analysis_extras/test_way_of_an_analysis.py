"""An analysis with everything: inventory, audit, secrets, mail; then another schedule's, compared with it."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

import orjson
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from shared.events.types import RunSucceeded
from tests.integration.worker.analysis_extras.servers import OsvServer, mail_server
from tests.integration.worker.bench_of_runs import Runs
from tests.integration.worker.test_analysis import (
    artifact,
    assert_fits_the_official_schema,
    commit,
    register,
    repository,
)

PASSWORD = "Tr0ub4dor-and-3-" + "xkcd"
TOKEN = "ghp_" + hashlib.sha1(b"a token of nobody").hexdigest()[:36]
KEY_BODY = "MIIEpAIBAAKCAQEA" + "x9" * 20
FILES = {
    "requirements.txt": "requests==2.19.0\nunknown-package>=1\n",
    "web/package-lock.json": '{"packages": {\n "node_modules/lodash": {\n  "version": "4.17.4"}}}\n',
    "tool/go.mod": "module example.com/me\n\nrequire golang.org/x/text v0.3.5\n",
    "app.py": f'''def connect(production):
    if production:
        password = "{PASSWORD}"
    else:
        password = "{PASSWORD}-test"
    return {{"{PASSWORD}": 1, "{PASSWORD}": 2, "password": password}}
''',
    "deploy/settings.yml": f"github_token: {TOKEN}\n",
    "deploy/key.pem": f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}\n-----END RSA PRIVATE KEY-----\n",
}
PARAMETERS = {
    "include_dependencies": True,
    "notify_on_completion": True,
    "notification_emails": ["team@example.com", "unknown@example.com"],
}


def recorded(runs: Runs, ended: RunSucceeded, schedule_id: int, trigger: str) -> None:
    """What health would have written."""
    runs.query(
        "INSERT INTO schedules (id, project_id, name, task_type, frequency, task_parameters)"
        " VALUES (%s, 1, 'a schedule', 'analysis', 'daily', %s)",
        (schedule_id, orjson.dumps({"repository_id": ended.result["repository_id"]}).decode()),
    )
    runs.query(
        "INSERT INTO jobs (id, schedule_id, schedule_version, project_id, task_type, trigger, status, scheduled_for,"
        " attempt, result) VALUES (%s, %s, 1, 1, 'analysis', %s, 'succeeded', %s, 1, %s)",
        (ended.job_id, schedule_id, trigger, ended.scheduled_for, orjson.dumps(ended.result).decode()),
    )


def by_tool(sarif: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {run["tool"]["driver"]["name"]: run["results"] for run in sarif["runs"]}


def assert_no_secret(runs: Runs, *texts: bytes) -> None:
    everything = [*texts, *(worker.log.read_bytes() for worker in runs.workers)]
    everything += [message.value() or b"" for message in runs.read("runs.results")]
    for secret in (PASSWORD, TOKEN, KEY_BODY):
        digests = [hashlib.new(name, secret.encode()).hexdigest() for name in ("sha1", "sha256", "md5")]
        for text in everything:
            assert secret.encode() not in text
            assert not any(digest.encode() in text for digest in digests)


def test_an_analysis_with_everything_and_the_next_one(runs: Runs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    repository(source, FILES)
    number = register(runs, str(source))
    with OsvServer() as osv, mail_server() as box:
        runs.worker(osv_url=osv.url, smtp_url=f"smtp://127.0.0.1:{box.port}")
        ended = runs.ended(runs.due("analysis", {"repository_id": number, **PARAMETERS}, schedule_id=41), 60)
        assert isinstance(ended, RunSucceeded), ended
    result = ended.result

    # The inventory and its audit.
    listed = result["dependencies"]
    assert (listed["packages"], listed["without_version"], listed["audit"]) == (4, 1, "audited")
    assert listed["by_ecosystem"] == {"Go": 1, "PyPI": 2, "npm": 1}
    assert listed["files"] == {"requirements.txt": 2, "tool/go.mod": 1, "web/package-lock.json": 1}
    known = listed["vulnerabilities"]
    assert (known["total"], known["packages"], known["packages_asked"]) == (4, 3, 3)
    assert [(row["id"], row["severity"]) for row in known["worst"]] == [
        ("GHSA-jf85-cpcp-j695", "critical"),
        ("GHSA-x84v-xcm2-53pg", "medium"),
        ("GO-2021-0113", "unknown"),
        ("GHSA-no-details", "unknown"),
    ]
    bom = artifact(runs, ended, "dependencies.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom.decode()) is None
    components = {one["purl"]: one for one in orjson.loads(bom)["components"]}
    assert set(components) == {
        "pkg:golang/golang.org/x/text@v0.3.5",
        "pkg:npm/lodash@4.17.4",
        "pkg:pypi/requests@2.19.0",
        "pkg:pypi/unknown-package",
    }
    assert components["pkg:npm/lodash@4.17.4"]["properties"][0]["value"] == "web/package-lock.json:2"
    assert [artifact.name for artifact in ended.artifacts] == ["dependencies.cdx.json", "analysis.sarif"]

    # One SARIF file for all of it, and no secret anywhere.
    sarif = artifact(runs, ended, "analysis.sarif")
    assert_fits_the_official_schema(orjson.loads(sarif))
    found = by_tool(orjson.loads(sarif))
    assert {(one["ruleId"], one["level"]) for one in found["osv"]} >= {
        ("GHSA-jf85-cpcp-j695", "error"),
        ("GHSA-x84v-xcm2-53pg", "warning"),
    }
    places = {
        (one["ruleId"], place["artifactLocation"]["uri"], place["region"]["startLine"])
        for one in found["detect-secrets"]
        for place in [one["locations"][0]["physicalLocation"]]
    }
    assert {
        ("private-key", "deploy/key.pem", 1),
        ("github-token", "deploy/settings.yml", 1),
        ("secret-keyword", "app.py", 3),
    } <= places
    rules = {one["ruleId"] for results in found.values() for one in results}
    assert {"B105", "F601", "SIM108"} <= rules  # each of them would quote the password
    assert_no_secret(runs, sarif, bom, orjson.dumps(result))

    # The mail.
    assert result["notified"] == 1
    assert result["warnings"] == ["unknown@example.com was not notified: the mail server refused the address"]
    ((_, recipients, mail),) = box.mails
    assert recipients == ["team@example.com"]
    assert "4 known vulnerabilities in 3" in mail.get_content()
    assert_no_secret(runs, mail.as_bytes())

    # Another schedule, the servers gone: a warning, "not audited", and only tools that ran again are compared.
    recorded(runs, ended, 41, "manual")
    commit(source, {"app.py": FILES["app.py"].replace(PASSWORD, secrets.token_hex(8)) + "\n\nvalue = eval(input())\n"})
    again = runs.ended(runs.due("analysis", {"repository_id": number, **PARAMETERS}, schedule_id=42), 60)
    assert isinstance(again, RunSucceeded), again
    assert again.result["dependencies"]["audit"].startswith("not audited: the connection failed")
    assert again.result["dependencies"]["vulnerabilities"] is None
    assert again.result["notified"] == 0
    assert again.result["warnings"] == ["nobody was notified: the mail server cannot be reached: Connection refused"]
    compared = again.result["compared_with_previous"]
    assert compared == {
        "new": 1,  # the eval; a password's new value is still the password of that line
        "fixed": 0,
        "unchanged": result["findings"]["total"] - len(found["osv"]),
        "previous_job_id": ended.job_id,
    }
    other = runs.ended(
        runs.due("analysis", {"repository_id": number, "analysis_type": "quality", "include_dependencies": False}), 60
    )
    assert other.result["compared_with_previous"] is None
    assert other.result["dependencies"] is None
    assert [run["tool"]["driver"]["name"] for run in orjson.loads(artifact(runs, other, "analysis.sarif"))["runs"]] == [
        "ruff",
        "lizard",
    ]
