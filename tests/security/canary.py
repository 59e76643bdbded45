"""Values that must not be found, and every form in which they might hide."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

CORE: Final = "cAnArYq7Wz3vK9tLmX2p"
"""Letters and digits only: JSON, URLs and quotes leave them as they are."""

VALUE: Final = f'p"w\\d \u00e4%+/=\x07{CORE}'
"""As bad as a password can be; no name or id looks like it."""


def traces(secret: str) -> Iterator[bytes]:
    """The forms of either half of a secret: raw, in any base64 that contains it, in hex, in UTF-16.

    Halves, because a text may be cut; base64 three times, because what stands before shifts it.
    """
    half = len(secret) // 2
    for part in (secret[:half].encode(), secret[half:].encode()):
        yield part
        yield part.hex().encode()
        yield part.hex().upper().encode()
        yield part.decode().encode("utf-16-le")
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + part)
            # Without the characters that the neighbours have a part in.
            inner = encoded[-(-8 * shift // 6) : (8 * (shift + len(part))) // 6]
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def found_in(content: bytes, secrets: Iterable[str]) -> list[str]:
    """Which of the secrets have left a trace."""
    return [secret for secret in secrets if any(trace in content for trace in traces(secret))]


def files_with(home: Path, secrets: Iterable[str]) -> dict[str, list[str]]:
    """The files under a directory that show any of them."""
    secrets = list(secrets)
    files = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert files
    found = {name: found_in(content, secrets) for name, content in files.items()}
    return {name: which for name, which in found.items() if which}
