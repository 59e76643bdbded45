"""Identifiers: the only maker of ids. Every random bit is from the operating system."""

import secrets
import uuid
from typing import Final

TEMPORARY_CHARACTERS: Final = 68
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def request_id(now_ms: int) -> str:
    """A version 7 UUID (RFC 9562, 5.7): 48 bits of milliseconds, then 74 random bits.

    The time in front lets one audit event be found from its request id without an index.
    """
    random = secrets.randbits(74)
    bits = (now_ms & (2**48 - 1)) << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (2**62 - 1)
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def request_time_ms(request: str) -> int | None:
    """The milliseconds inside an id made by `request_id`; None for any other text."""
    try:
        value = uuid.UUID(request)
    except ValueError:
        return None
    return value.int >> 80 if value.version == 7 and str(value) == request else None  # noqa: PLR2004 - RFC 9562 version number


def key_id(now_ms: int) -> str:
    """A version 1 UUID (RFC 9562, 5.1) with random node and sequence: the look that clients know, no MAC address."""
    ticks = now_ms * 10_000 + secrets.randbelow(10_000) + 0x01B21DD213814000
    return str(
        uuid.UUID(
            fields=(
                ticks & 0xFFFFFFFF,
                ticks >> 32 & 0xFFFF,
                ticks >> 48 & 0x0FFF | 0x1000,
                secrets.randbits(6) | 0x80,
                secrets.randbits(8),
                secrets.randbits(48) | 1 << 40,
            )
        )
    )


def secret_id() -> str:
    """An access key's public half: `AKID` and 32 letters or digits."""
    return "AKID" + "".join(secrets.choice(_ALPHABET) for _ in range(32))


def temporary_secret_id() -> str:
    """The public half of temporary credentials: `AKID` and 64 letters or digits, so that it looks like no access key's."""
    return "AKID" + "".join(secrets.choice(_ALPHABET) for _ in range(TEMPORARY_CHARACTERS - 4))


def secret_key() -> str:
    """An access key's private half: 32 letters or digits, 190 bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))


def uin() -> str:
    """An account or user number: 12 digits, the first is 1."""
    return str(10**11 + secrets.randbelow(9 * 10**10))


def group_id() -> int:
    """A group's number: 9 digits. Only within its account is it the only one."""
    return 10**8 + secrets.randbelow(9 * 10**8)


def policy_id() -> int:
    """A custom policy's number: 15 digits, exact in every client's arithmetic."""
    return 10**14 + secrets.randbelow(9 * 10**14)


def role_id() -> str:
    """A role's number, with the look that clients know: 19 digits, just above 2**62."""
    return str(2**62 + secrets.randbelow(2**40))
