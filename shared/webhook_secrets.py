"""The secrets of a webhook: made and sealed by the api, opened by the worker that signs with them.

A webhook has one secret, or two while it is being rotated: deliveries then carry a signature by each, and the
receiver may change over at any moment (Standard Webhooks, "Zero downtime secret rotation"). They are sealed together
and bound to their project, so that a row's secrets are of no use in another project's row.
"""

import base64
import binascii
import os
from collections.abc import Sequence

import orjson

from shared.secrets import SecretBox, SecretUnreadable

PREFIX = "whsec_"
MOST = 2
_BYTES = range(24, 65)  # the specification's bounds
_NEW_BYTES = 32


def new_secret() -> str:
    """A random secret in the form receivers expect: `whsec_` and base64."""
    return PREFIX + base64.b64encode(os.urandom(_NEW_BYTES)).decode()


def check_secret(secret: str) -> None:
    """Raise ValueError unless it is `whsec_` + base64 of 24–64 bytes. The sentence does not repeat the secret."""
    try:
        size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not secret.startswith(PREFIX) or size not in _BYTES:
        raise ValueError(f"a webhook secret is {PREFIX} and 24 to 64 bytes as base64")


def rotated(secrets: Sequence[str], newest: str) -> list[str]:
    """The secrets after `newest` was added: it, and the one that was newest until now."""
    return [newest, *[one for one in secrets if one != newest][: MOST - 1]]


def seal_secrets(box: SecretBox, project_id: int, secrets: Sequence[str]) -> bytes:
    """What goes into `webhooks.secrets_encrypted`: one or two secrets, newest first."""
    for secret in secrets:
        check_secret(secret)
    if not 1 <= len(secrets) <= MOST:
        raise ValueError("a webhook has one secret, or two while it is being rotated")
    return box.seal(orjson.dumps(list(secrets)).decode(), _purpose(project_id))


def open_secrets(box: SecretBox, project_id: int, sealed: bytes) -> list[str]:
    """The secrets, newest first. Raises SecretUnreadable."""
    try:
        return [str(one) for one in orjson.loads(box.unseal(bytes(sealed), _purpose(project_id)))]
    except orjson.JSONDecodeError as error:
        raise SecretUnreadable("a webhook's secrets have an unknown form") from error


def _purpose(project_id: int) -> str:
    return f"webhook secrets of project {project_id}"
