"""What the account endpoints take and give."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, EmailStr, Field, SecretStr

from app.api.http import RequestModel, ResponseModel
from app.security import passwords

MAX_EMAIL_LENGTH = 254


def _long_enough(password: SecretStr) -> SecretStr:
    if not passwords.MIN_LENGTH <= len(password.get_secret_value()) <= passwords.MAX_LENGTH:
        raise ValueError(f"must have {passwords.MIN_LENGTH} to {passwords.MAX_LENGTH} characters")
    return password


def _encodable(password: SecretStr) -> SecretStr:
    """JSON can spell half a surrogate pair, which has no UTF-8 form to hash."""
    try:
        password.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("contains an unpaired surrogate") from None
    return password


Email = Annotated[EmailStr, Field(max_length=MAX_EMAIL_LENGTH), AfterValidator(str.lower)]


class Registration(RequestModel):
    email: Email
    password: Annotated[
        SecretStr,
        AfterValidator(_long_enough),
        AfterValidator(_encodable),
        Field(json_schema_extra={"minLength": passwords.MIN_LENGTH, "maxLength": passwords.MAX_LENGTH}),
    ]


class Login(RequestModel):
    """Any password is looked at, so that a wrong one and a too short one fail alike."""

    email: Annotated[str, Field(max_length=MAX_EMAIL_LENGTH), AfterValidator(str.strip), AfterValidator(str.lower)]
    password: Annotated[SecretStr, Field(max_length=passwords.MAX_LENGTH), AfterValidator(_encodable)]


class Refresh(RequestModel):
    refresh_token: SecretStr


class AccountOut(ResponseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    email: str
    created_at: datetime


class TokensOut(ResponseModel):
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the scheme's name
    expires_in: int = Field(description="Life of the access token in seconds.")
