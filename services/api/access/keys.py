"""API keys: `cc_<prefix>_<secret>`. The prefix finds the row; the secret is compared by its digest, in constant time.

The secret holds 256 random bits, so a plain SHA-256 is as hard to turn back as any slow hash would be, and a request
is not slowed down.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

_SHAPE = re.compile(r"cc_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is shown, once, and what is stored of it."""

    text: str
    prefix: str
    digest: bytes


def generate() -> NewKey:
    """A key that nobody has had before."""
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return NewKey(f"cc_{prefix}_{secret}", prefix, digest_of(secret))


def split(text: str) -> tuple[str, str] | None:
    """Prefix and secret of something that looks like a key."""
    found = _SHAPE.fullmatch(text)
    return None if found is None else (found.group(1), found.group(2))


def digest_of(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def matches(secret: str, digest: bytes | None) -> bool:
    """Compare in constant time; an unknown key takes as long as a wrong secret."""
    return hmac.compare_digest(digest_of(secret), digest or _NOBODY) and digest is not None
