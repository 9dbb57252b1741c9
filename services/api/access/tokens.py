"""OIDC bearer tokens: signature by the issuer's published keys; algorithm, audience and issuer pinned by settings."""

from typing import Any

import jwt

from services.api.access.principal import Principal, Role
from services.api.settings import Settings

_LEEWAY_SECONDS = 30
_LONGEST_SUBJECT = 200


class TokenRefused(Exception):
    """A token that does not count here, with the reason."""


class IssuerUnavailable(Exception):
    """The issuer's keys cannot be fetched now. Temporary: the token may well be good."""


class TokenReader:
    """Reads tokens of one issuer. Its keys are fetched when first needed and kept for five minutes, no longer: what the
    issuer has withdrawn must stop counting. An unknown key makes the library ask again, twice a minute at most.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        issuer = (settings.oidc_issuer or "").rstrip("/")
        self._keys = jwt.PyJWKClient(
            settings.oidc_jwks_url or f"{issuer}/.well-known/jwks.json", lifespan=300, timeout=5
        )

    def read(self, token: str) -> Principal:
        """The principal a token speaks for. Raises TokenRefused or IssuerUnavailable."""
        settings = self._settings
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[settings.oidc_algorithm],
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise IssuerUnavailable("The token issuer's keys cannot be fetched now.") from error
        except jwt.PyJWTError as error:
            raise TokenRefused(f"This token is not accepted: {error}.") from error
        subject = str(claims["sub"])
        if not subject.isprintable() or len(subject) > _LONGEST_SUBJECT:
            raise TokenRefused(f"The token's sub is no name: {_LONGEST_SUBJECT} printable characters at most.")
        return Principal(
            f"oidc:{subject}",
            self._role(claims.get(settings.oidc_role_claim)),
            self._projects(claims.get(settings.oidc_projects_claim)),
            f"oidc:{subject}",
        )

    def _role(self, claim: object) -> Role:
        try:
            return Role.named(str(claim))
        except KeyError as error:
            name = self._settings.oidc_role_claim
            raise TokenRefused(f"The token's claim {name} names no role: viewer, operator, admin.") from error

    def _projects(self, claim: object) -> tuple[int, ...] | None:
        """A list of project ids, or "*" for all. Without the claim: none, so that forgetting it opens nothing."""
        if claim == "*":
            return None
        if isinstance(claim, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in claim):
            return tuple(one for one in claim if one > 0)
        return ()
