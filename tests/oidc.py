"""An OpenID Connect provider: its keys, and the tokens that it signs."""

import json
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from chalicelib.settings import OidcProvider

NAME: Final = "idp"
ISSUER: Final = "https://idp.example"
AUDIENCE: Final = "keystead"
SUBJECT: Final = "repo:example/app"
SECONDS: Final = 600
KEY: Final = ec.generate_private_key(ec.SECP256R1())
RSA_KEY: Final = rsa.generate_private_key(65537, 2048)


def jwk(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    """The public half as a member of a key set."""
    algorithm = jwt.get_algorithm_by_name("ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256")
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **more}


KEYS: Final[dict[str, Any]] = {"keys": [jwk(KEY, "ec"), jwk(RSA_KEY, "rsa", use="sig", alg="RS256")]}
PROVIDER: Final = OidcProvider(issuer=ISSUER, audiences=(AUDIENCE, "other"), jwks=KEYS)


def token(
    now: int,
    *,
    key: Any = KEY,
    algorithm: str = "ES256",
    header: dict[str, Any] | None = None,
    without: str = "",
    **claims: Any,
) -> str:
    """A token of the provider's, with changes."""
    members = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "iat": now,
        "exp": now + SECONDS,
        **claims,
    }
    members = {name: value for name, value in members.items() if name != without}
    return jwt.encode(members, key, algorithm, headers={"kid": "ec", **(header or {})})
