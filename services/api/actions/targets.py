"""Judging repositories and webhooks: their addresses, and the project they are to belong to.

Called by their routes, and by `beside` for bodies that their model refuses: None is a field that cannot be judged.
"""

from typing import Any

from services.api.actions.addresses import repository_problem, webhook_problem
from services.api.caller import Caller
from services.api.problems import field_error
from shared.storage import projects
from shared.storage.database import Connection
from shared.webhook_secrets import check_secret


def unknown_project(connection: Connection, project_id: int, caller: Caller) -> list[dict[str, Any]]:
    """That there is no such project in the caller's sight."""
    if caller.principal.sees(project_id) and projects.get(connection, project_id) is not None:
        return []
    return [field_error("project_id", f"there is no project {project_id}", project_id)]


def wrong_repository(url: str | None, branch: str | None, caller: Caller) -> list[dict[str, Any]]:
    """What is wrong with a URL and a branch's name."""
    found = []
    problem = None if url is None else repository_problem(url, caller.context.settings)
    if problem is not None:
        found.append(field_error("url", problem, url))
    if branch is not None and (branch.startswith("-") or ".." in branch or not branch.isprintable() or " " in branch):
        found.append(field_error("default_branch", "this is no branch name", branch))
    return found


def wrong_webhook(url: str | None, secret: str | None, caller: Caller) -> list[dict[str, Any]]:
    """What is wrong with a URL and a secret, which is never answered."""
    found = []
    problem = None if url is None else webhook_problem(url, caller.context.settings)
    if problem is not None:
        found.append(field_error("url", problem, url))
    if secret is not None:
        try:
            check_secret(secret)
        except ValueError as error:
            found.append(field_error("secret", str(error)))
    return found
