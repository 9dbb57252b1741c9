"""From a request's credentials to its principal: nobody needed, an API key, or an OIDC bearer token.

Keys are looked up in the database and remembered for a few seconds, so that a revoked key ends everywhere within
KEY_SECONDS; in the process that revokes it, at once.
"""

import hmac
import threading

from services.api.access import keys
from services.api.access.principal import ANYBODY, Principal, Role
from services.api.access.tokens import IssuerUnavailable, TokenReader, TokenRefused
from services.api.problems import Problem
from services.api.settings import Settings
from shared import clock
from shared.storage import api_keys
from shared.storage.database import Database
from shared.telemetry.metrics import FAULTS, REFUSED

KEY_SECONDS = 5.0
_MOST_REMEMBERED = 10_000


class Authenticator:
    """Judges the Authorization and X-API-Key headers."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._open = settings.auth == "none"
        self._admin_key = settings.admin_key
        self._database = database
        self._tokens = TokenReader(settings) if settings.oidc_issuer else None
        self._remembered: dict[str, tuple[float, Principal]] = {}
        self._forgotten = 0
        self._lock = threading.Lock()

    def remembered(self, credential: str | None) -> Principal | None:
        """The principal, if no look-up is needed to know it."""
        if self._open:
            return ANYBODY
        if credential is None:
            return None
        known = self._remembered.get(credential)
        return known[1] if known is not None and known[0] > clock.monotonic() else None

    def identify(self, credential: str | None) -> Principal:
        """The principal of a credential. Raises Problem 401, or 503 while a token's issuer cannot be asked."""
        known = self.remembered(credential)
        if known is not None:
            return known
        if credential is None:
            raise _unauthenticated("Send an API key: Authorization: Bearer <key>, or X-API-Key.")
        if self._admin_key is not None and hmac.compare_digest(credential.encode(), self._admin_key.encode()):
            return Principal("admin-key", Role.ADMIN, None, "admin-key")
        parts = keys.split(credential)
        forgotten = self._forgotten
        if parts is not None:
            principal = self._by_key(*parts)
        elif self._tokens is not None:
            try:
                principal = self._tokens.read(credential)
            except TokenRefused as error:
                raise _unauthenticated(str(error)) from error
            except IssuerUnavailable as error:
                FAULTS.labels("api", "issuer_unavailable").inc()
                raise Problem(503, str(error), headers={"Retry-After": "5"}) from error
            return principal  # a token carries its own end: it is judged anew each time
        else:
            raise _unauthenticated("This is no API key.")
        with self._lock:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            if forgotten == self._forgotten:  # else it may have been looked up before it was revoked
                self._remembered[credential] = (clock.monotonic() + KEY_SECONDS, principal)
        return principal

    def forget(self) -> None:
        """Look every key up again: one has been revoked or rotated here."""
        with self._lock:
            self._forgotten += 1
            self._remembered.clear()

    def _by_key(self, prefix: str, secret: str) -> Principal:
        with self._database.statements() as connection:
            row = api_keys.usable(connection, prefix)
            if not keys.matches(secret, None if row is None else bytes(row.digest)) or row is None:
                raise _unauthenticated("This API key is unknown, revoked or expired.")
            api_keys.note_use(connection, row.id)
        projects = None if row.project_ids is None else tuple(row.project_ids)
        return Principal(f"key:{row.name}", Role.named(row.role), projects, f"key:{row.id}")


def _unauthenticated(detail: str) -> Problem:
    REFUSED.labels("unauthenticated").inc()
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="commandcenter"'})
