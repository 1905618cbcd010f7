"""Access and refresh tokens: JWTs signed with the active key of a ring and accepted with any key of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

import jwt

from app.settings import Settings
from app.settings_checks import KeyRing
from app.web.authentication import InvalidToken

Kind = Literal["at+jwt", "rt+jwt"]

ALGORITHM = "HS256"
MAX_TOKEN_LENGTH = 4096
_MOST_CHECKED = 4096
_LEEWAY_SECONDS = 10
"""Clocks of two replicas may differ by this much."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A checked token, or one just issued (then with its `text`)."""

    id: uuid.UUID
    user_id: uuid.UUID
    family_id: uuid.UUID | None
    expires_at: datetime
    text: str = ""


class Tokens:
    """Issues and checks tokens. The header's `typ` keeps the two kinds apart: neither passes for the other."""

    def __init__(
        self,
        ring: KeyRing,
        *,
        issuer: str,
        audience: str,
        access_seconds: int,
        refresh_seconds: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ring, self._issuer, self._audience, self._now = ring, issuer, audience, now
        self.access_seconds, self.refresh_seconds = access_seconds, refresh_seconds
        self._checked: dict[str, Token] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.key_ring,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            access_seconds=settings.jwt_access_expires_in,
            refresh_seconds=settings.jwt_refresh_expires_in,
        )

    def issue_access(self, user_id: uuid.UUID) -> Token:
        return self._issue("at+jwt", user_id, self.access_seconds, family_id=None)

    def issue_refresh(self, user_id: uuid.UUID, *, family_id: uuid.UUID) -> Token:
        return self._issue("rt+jwt", user_id, self.refresh_seconds, family_id=family_id)

    def reissue_refresh(
        self, user_id: uuid.UUID, *, family_id: uuid.UUID, token_id: uuid.UUID, expires_at: datetime
    ) -> Token:
        """The refresh token that was issued under this id, once more; in the same text, unless the active key or the
        life of refresh tokens has changed since."""
        # Never later than now, as it would be when tokens lived longer at that time: that is no valid token yet.
        issued_at = min(expires_at - timedelta(seconds=self.refresh_seconds), self._now().replace(microsecond=0))
        return self._sign("rt+jwt", user_id, token_id, issued_at, expires_at, family_id=family_id)

    def check_access(self, text: str) -> Token:
        """Raises InvalidToken.

        A token that was found valid stays so until it expires, as the keys stay for the life of the process. A client
        sends the same one with every request, and checking it was a fifth of what a request cost.
        """
        token = self._checked.get(text)
        if token is None or self._now() >= token.expires_at:
            token = self._check("at+jwt", text)
            if len(self._checked) >= _MOST_CHECKED:
                self._checked.clear()
            self._checked[text] = token
        return token

    def user_of(self, text: str) -> uuid.UUID:
        """The account of an access token; raises InvalidToken."""
        return self.check_access(text).user_id

    def check_refresh(self, text: str) -> Token:
        """Raises InvalidToken. Whether it was used or revoked is the database's to say."""
        return self._check("rt+jwt", text)

    def _issue(self, kind: Kind, user_id: uuid.UUID, seconds: int, *, family_id: uuid.UUID | None) -> Token:
        issued_at = self._now().replace(microsecond=0)
        expires_at = issued_at + timedelta(seconds=seconds)
        return self._sign(kind, user_id, uuid.uuid4(), issued_at, expires_at, family_id=family_id)

    def _sign(
        self,
        kind: Kind,
        user_id: uuid.UUID,
        token_id: uuid.UUID,
        issued_at: datetime,
        expires_at: datetime,
        *,
        family_id: uuid.UUID | None,
    ) -> Token:
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "iat": issued_at,
            "exp": expires_at,
            "jti": str(token_id),
            **({"family": str(family_id)} if family_id else {}),
        }
        headers = {"kid": self._ring.active, "typ": kind}
        text = jwt.encode(claims, self._ring.keys[self._ring.active], algorithm=ALGORITHM, headers=headers)
        return Token(id=token_id, user_id=user_id, family_id=family_id, expires_at=expires_at, text=text)

    def _check(self, kind: Kind, text: str) -> Token:
        if len(text) > MAX_TOKEN_LENGTH:
            raise InvalidToken("the token is malformed")
        try:
            header = jwt.get_unverified_header(text)
            key = self._ring.keys.get(str(header.get("kid", "")))
            if key is None or header.get("typ") != kind:
                raise InvalidToken("the token is not one of this service's")
            claims = jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "sub", "jti", "iss", "aud"]},
            )
            return Token(
                id=uuid.UUID(claims["jti"]),
                user_id=uuid.UUID(claims["sub"]),
                family_id=uuid.UUID(claims["family"]) if "family" in claims else None,
                expires_at=datetime.fromtimestamp(claims["exp"], UTC),
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("the token has expired") from None
        except jwt.DecodeError as error:
            bad_signature = isinstance(error, jwt.InvalidSignatureError)
            reason = "is not one of this service's" if bad_signature else "is malformed"
            raise InvalidToken(f"the token {reason}") from None
        except (jwt.InvalidTokenError, ValueError, AttributeError, TypeError):
            raise InvalidToken("the token is not valid here") from None
