"""Web identity tokens: JWTs (RFC 7519) of OpenID Connect providers that the operator has configured.

What is checked, beside the signature: issuer, audience, expiry and a subject (OpenID Connect Core 1.0, 3.1.3.7). Only the
configured algorithms count, all of them asymmetric, and only the provider's own keys: what a token says about keys or
addresses is never followed.
"""

import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chalicelib.clock import Clock
from chalicelib.errors import InternalError, WebIdentityTokenError
from chalicelib.settings import OidcProvider

LEEWAY_SECONDS: Final = 60
"""How far the provider's clock may be off."""
FETCH_SECONDS: Final = 3
KEEP_SECONDS: Final = 600
"""How long a fetched key set counts as new; an older one still serves while no newer one can be had."""
RETRY_SECONDS: Final = 30
"""How soon a key set is fetched again for a key that it does not have."""
PAUSE_SECONDS: Final = 5
"""How soon one that could not be had is tried again, while there is no older one."""
_MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """Whom a token speaks of."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]


@dataclass(slots=True)
class _Keys:
    """A provider's key set, as last seen."""

    members: list[Mapping[str, Any]] = field(default_factory=list)
    fetched_at: float | None = None
    """When it was last tried, on the monotonic clock."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class WebIdentities:
    """The providers and their keys. Safe to use from many threads."""

    def __init__(
        self,
        providers: Mapping[str, OidcProvider],
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = providers
        self._clock = clock
        self._monotonic = monotonic
        self._keys = {name: _Keys(list((p.jwks or {}).get("keys", ()))) for name, p in providers.items()}

    def verify(self, provider_id: str, token: str) -> WebIdentity:
        """Whom the token speaks of; WebIdentityTokenError for any other text, whatever is wrong with it."""
        import jwt  # noqa: PLC0415 - one action in a hundred needs it

        provider = self._providers.get(provider_id)
        if provider is None:
            raise WebIdentityTokenError
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header["alg"]
            if algorithm not in provider.algorithms:
                raise WebIdentityTokenError
            claims = jwt.decode(
                token,
                jwt.PyJWK(dict(self._key(provider_id, header.get("kid"), algorithm)), algorithm),
                algorithms=[algorithm],
                audience=list(provider.audiences),
                issuer=provider.issuer,
                # The times are compared with the service's own clock, below.
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            self._check_times(claims)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise WebIdentityTokenError from None
        audiences = claims["aud"]
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject:
            raise WebIdentityTokenError
        audiences = (audiences,) if isinstance(audiences, str) else tuple(map(str, audiences))
        return WebIdentity(provider.issuer, subject, audiences)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        expires_at, not_before = claims["exp"], claims.get("nbf", 0)
        if type(expires_at) not in (int, float) or type(not_before) not in (int, float):
            raise WebIdentityTokenError
        if not not_before - LEEWAY_SECONDS <= now < expires_at + LEEWAY_SECONDS:
            raise WebIdentityTokenError

    def _key(self, provider_id: str, kid: object, algorithm: str) -> Mapping[str, Any]:
        """The provider's key of that id, or its only one where the token names none."""
        keys = self._keys[provider_id]
        found = self._select(self._fresh(provider_id, keys, KEEP_SECONDS), kid, algorithm)
        if found is None:
            # A provider changes its keys before it uses new ones.
            found = self._select(self._fresh(provider_id, keys, RETRY_SECONDS), kid, algorithm)
        if found is None:
            raise WebIdentityTokenError
        return found

    @staticmethod
    def _select(keys: list[Mapping[str, Any]], kid: object, algorithm: str) -> Mapping[str, Any] | None:
        usable = [
            key
            for key in keys
            if key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (kid is None or key.get("kid") == kid)
        ]
        return usable[0] if len(usable) == 1 else None

    def _fresh(self, provider_id: str, keys: _Keys, seconds: float) -> list[Mapping[str, Any]]:
        """The key set, fetched again if the last attempt is longer ago."""
        url = self._providers[provider_id].jwks_url
        if not url:
            return keys.members
        with keys.lock:
            # Without keys the pause is shorter, but there is one: anybody can make this call.
            pause = seconds if keys.members else PAUSE_SECONDS
            if keys.fetched_at is None or self._monotonic() - keys.fetched_at > pause:
                keys.fetched_at = self._monotonic()
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    keys.members = _fetch(url)
            if not keys.members:
                raise InternalError("The keys of the identity provider cannot be read: try again.")
            return keys.members


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The operator has named one address; it leads to no other."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def _fetch(url: str) -> list[Mapping[str, Any]]:
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(url, timeout=FETCH_SECONDS) as answer:
        text = answer.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError
    keys = json.loads(text)["keys"]
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError
    return keys
