"""E-mail addresses as the names of accounts, read in one way everywhere.

The same address can be typed in many ways: in capitals, with composed or decomposed accents (a Mac's file dialog gives
the latter), with the domain in its own letters or in punycode, with full-width letters in the domain. All become one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

MAX_LENGTH = 254
"""Characters without the blanks around; the longest that fits into the path of RFC 5321 (256 with its brackets)."""


class DisplayNameGiven(ValueError):
    """The text is `Ann <ann@example.org>`, as mail programs copy it."""


@dataclass(frozen=True, kw_only=True)
class EmailAddress:
    """`normalised` is what is stored, shown and counted by."""

    normalised: str
    spellings: tuple[str, ...]
    """What an account of this address may be stored as, `normalised` among them; to be looked up in this order.

    Earlier versions stored the lower case of the composed form, which is not always composed again (J with a caron has
    no composed capital, and its small letter has one), and looked up the lower case of what was typed. Who could log in
    with a text then is found by it first, so that no login leads to another account than before.
    """


def parse_email(text: str) -> EmailAddress:
    """The address of an account that may be registered; raises ValueError with a sentence for the user.

    The domain is mapped by UTS #46 and kept in its own letters. The part before the @ is composed (NFC) and made lower
    case; it is not mapped by NFKC, which RFC 6532 (section 3.1) advises against: there, full-width letters are another
    mailbox. Quoted local parts, addresses in brackets for a domain and a final dot are refused.
    """
    stripped = _stripped(text)
    try:
        former = validate_email(stripped, check_deliverability=False).normalized.lower()
    except EmailNotValidError as invalid:
        raise ValueError(f"is not a valid email address: {invalid}") from None
    normalised = unicodedata.normalize("NFC", former)
    return EmailAddress(normalised=normalised, spellings=tuple(dict.fromkeys((stripped.lower(), former, normalised))))


def read_email(text: str) -> EmailAddress:
    """As `parse_email`, but what no account can have is only lowered: it will not be found, unless a version with
    other rules has stored it. Raises ValueError for a display name and for more than MAX_LENGTH characters."""
    try:
        return parse_email(text)
    except DisplayNameGiven:
        raise
    except ValueError:
        lowered = _stripped(text).lower()
        return EmailAddress(normalised=lowered, spellings=(lowered,))


def _stripped(text: str) -> str:
    stripped = text.strip()
    if len(stripped) > MAX_LENGTH:
        raise ValueError(f"must have at most {MAX_LENGTH} characters")
    if stripped.endswith(">") and "<" in stripped:
        raise DisplayNameGiven("must be the address alone, such as ann@example.org, without a name or angle brackets")
    return stripped
