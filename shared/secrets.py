"""Secrets at rest: sealed by AES-256-GCM with a key from a setting, or from a file in the home that is made once.

The api seals webhook secrets, the worker opens them. A sealed text is bound to its place (`purpose`), so that it cannot
be moved to another row. Nothing here is ever logged.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_NONCE = 12
_KEY_BYTES = 32
KEY_FILE = "secrets.key"


class SecretUnreadable(Exception):
    """A sealed text that this key does not open. Permanent."""


class SecretBox:
    """Seals and opens texts."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes. Raises ValueError for any other length."""
        if len(key) != _KEY_BYTES:
            raise ValueError(f"the secrets key has {len(key)} bytes, {_KEY_BYTES} are needed")
        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, setting: str | None, home: Path) -> "SecretBox":
        """The box of a setting (base64), or of the home's key file, made when it is not there. Raises ValueError."""
        if setting is not None:
            return cls(base64.b64decode(setting, validate=True))
        path = home / KEY_FILE
        try:
            return cls(base64.b64decode(path.read_bytes()))
        except FileNotFoundError:
            home.mkdir(parents=True, exist_ok=True)
        # Written beside and linked into place: two services that start together end with the same key.
        own = path.with_name(f"{KEY_FILE}.{os.getpid()}")
        own.touch(mode=0o600)
        own.write_bytes(base64.b64encode(AESGCM.generate_key(_KEY_BYTES * 8)))
        try:
            os.link(own, path)
        except FileExistsError:
            pass  # the other one was first: its key counts
        finally:
            own.unlink()
        return cls(base64.b64decode(path.read_bytes()))

    def seal(self, text: str, purpose: str) -> bytes:
        """Encrypt; `purpose` must be the same at opening."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> str:
        """Decrypt. Raises SecretUnreadable."""
        nonce, body = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if sealed[:1] != _VERSION:
            raise SecretUnreadable("a stored secret has an unknown form")
        try:
            return self._cipher.decrypt(nonce, body, purpose.encode()).decode()
        except InvalidTag as error:
            raise SecretUnreadable("a stored secret was sealed with another key") from error
