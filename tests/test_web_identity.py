"""Web identity tokens: which are taken, and whose keys."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from chalicelib.clock import ManualClock
from chalicelib.errors import InternalError, WebIdentityTokenError
from chalicelib.settings import OidcProvider, SettingError, Settings
from chalicelib.web_identity import KEEP_SECONDS, LEEWAY_SECONDS, PAUSE_SECONDS, RETRY_SECONDS, WebIdentities
from tests import oidc
from tests.api.test_replays import Seconds

NOW = 1_800_000_000


def identities(**changes: Any) -> WebIdentities:
    members = {"issuer": oidc.ISSUER, "audiences": (oidc.AUDIENCE, "other"), "jwks": oidc.KEYS, **changes}
    return WebIdentities({oidc.NAME: OidcProvider(**members)}, ManualClock(NOW))


def is_taken(token: str, **changes: Any) -> bool:
    try:
        identities(**changes).verify(oidc.NAME, token)
    except WebIdentityTokenError as error:
        return str(error) != WebIdentityTokenError.message  # no word of the token in it
    return True


def test_whom_it_speaks_of() -> None:
    found = identities().verify(oidc.NAME, oidc.token(NOW, aud=["x", "other"]))
    assert (found.issuer, found.subject, found.audiences) == (oidc.ISSUER, oidc.SUBJECT, ("x", "other"))


def test_every_configured_algorithm() -> None:
    kinds: dict[str, Any] = {
        "RS256": oidc.RSA_KEY,
        "PS512": oidc.RSA_KEY,
        "ES384": ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    for algorithm, key in kinds.items():
        member = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
        keys = {"keys": [{**member, "kid": "k"}]}
        token = oidc.token(NOW, key=key, algorithm=algorithm, header={"kid": "k"})
        assert is_taken(token, jwks=keys, algorithms=(algorithm,))
        assert not is_taken(token, jwks=keys, algorithms=("ES256",))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": oidc.ISSUER + "/"},
        {"aud": "somebody-else"},
        {"aud": []},
        {"sub": ""},
        {"sub": 7},
        {"exp": NOW - LEEWAY_SECONDS},
        {"exp": "never"},
        {"exp": True},
        {"nbf": NOW + LEEWAY_SECONDS + 1},
        {"without": "exp"},
        {"without": "iss"},
        {"without": "aud"},
        {"without": "sub"},
    ],
)
def test_claims_that_do_not_fit(claims: dict[str, Any]) -> None:
    assert not is_taken(oidc.token(NOW, **claims))


def test_times_are_those_of_the_services_clock() -> None:
    assert is_taken(oidc.token(NOW, exp=NOW - LEEWAY_SECONDS + 1))
    assert is_taken(oidc.token(NOW, nbf=NOW + LEEWAY_SECONDS))
    assert not is_taken(oidc.token(NOW - 10_000))


def test_no_signature_and_a_signature_with_the_public_key_are_none() -> None:
    """The two classics: alg none, and HS256 with the RSA key's public half as its secret."""
    unsigned = oidc.token(NOW, key=None, algorithm="none")
    assert not is_taken(unsigned)
    pem = oidc.RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = {"alg": "HS256", "kid": "rsa"}
    claims = jwt.decode(oidc.token(NOW), options={"verify_signature": False})
    text = ".".join(_b64(json.dumps(part).encode()) for part in (head, claims))
    forged = f"{text}.{_b64(hmac.digest(pem, text.encode(), hashlib.sha256))}"
    assert not is_taken(forged)
    assert not is_taken(forged, algorithms=("RS256", "ES256"))


def test_a_symmetric_key_in_the_set_is_no_key() -> None:
    member = {"kty": "oct", "k": _b64(b"s" * 64), "kid": "ec", "alg": "HS256"}
    token = oidc.token(NOW, key=b"s" * 64, algorithm="HS256")
    assert not is_taken(token, jwks={"keys": [member]})


def test_keys_in_the_tokens_header_do_not_count() -> None:
    own = rsa.generate_private_key(65537, 2048)
    for header in (
        {"jwk": oidc.jwk(own, "own")},
        {"jku": "http://127.0.0.1/keys"},
        {"kid": "rsa"},
        {"kid": "own"},
        {"kid": "../../rsa"},
    ):
        assert not is_taken(oidc.token(NOW, key=own, algorithm="RS256", header=header))


def test_a_key_of_another_use_or_algorithm_does_not_count() -> None:
    for more in ({"use": "enc"}, {"alg": "RS512"}, {"kid": "another"}):
        keys = {"keys": [{**oidc.jwk(oidc.RSA_KEY, "rsa"), **more}]}
        token = oidc.token(NOW, key=oidc.RSA_KEY, algorithm="RS256", header={"kid": "rsa"})
        assert not is_taken(token, jwks=keys)
    twice = {"keys": [oidc.jwk(oidc.RSA_KEY, "rsa")] * 2}
    assert not is_taken(token, jwks=twice)


def test_a_token_without_a_key_id_where_there_is_one_key() -> None:
    token = jwt.encode(jwt.decode(oidc.token(NOW), options={"verify_signature": False}), oidc.KEY, "ES256")
    assert is_taken(token, jwks={"keys": [oidc.jwk(oidc.KEY, "ec")]})
    assert not is_taken(token, jwks={"keys": [oidc.jwk(oidc.KEY, "1"), oidc.jwk(oidc.KEY, "2")]})


@pytest.mark.parametrize("token", ["", ".", "..", "x.y.z", "a" * 10_000, "e30.e30.e30", "é.é.é", "\x00"])
def test_what_is_no_token(token: str) -> None:
    assert not is_taken(token)


def test_every_changed_character_is_refused() -> None:
    token = oidc.token(NOW)
    for at in range(0, len(token), 11):
        if token[at] != ".":
            assert not is_taken(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :])


# Keys at an address


class Keys(http.server.BaseHTTPRequestHandler):
    answer = b""
    status = 200
    calls = 0

    def do_GET(self) -> None:
        type(self).calls += 1
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Keys.answer, Keys.status, Keys.calls = json.dumps(oidc.KEYS).encode(), 200, 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/keys"
        listening.shutdown()
        thread.join()


def remote(url: str, seconds: Seconds) -> WebIdentities:
    provider = OidcProvider(issuer=oidc.ISSUER, audiences=(oidc.AUDIENCE,), jwks_url=url)
    return WebIdentities({oidc.NAME: provider}, ManualClock(NOW), monotonic=seconds)


def test_fetched_keys_are_kept(server: str) -> None:
    seconds = Seconds()
    found = remote(server, seconds)
    for _ in range(5):
        assert found.verify(oidc.NAME, oidc.token(NOW)).subject == oidc.SUBJECT
    assert Keys.calls == 1
    seconds.now += KEEP_SECONDS + 1
    found.verify(oidc.NAME, oidc.token(NOW))
    assert Keys.calls == 2


def test_a_new_key_is_fetched_but_not_on_every_unknown_one(server: str) -> None:
    seconds = Seconds()
    found = remote(server, seconds)
    found.verify(oidc.NAME, oidc.token(NOW))
    new = ec.generate_private_key(ec.SECP256R1())
    token = oidc.token(NOW, key=new, header={"kid": "new"})
    for _ in range(5):
        with pytest.raises(WebIdentityTokenError):
            found.verify(oidc.NAME, token)
    assert Keys.calls == 1
    Keys.answer = json.dumps({"keys": [*oidc.KEYS["keys"], oidc.jwk(new, "new")]}).encode()
    seconds.now += RETRY_SECONDS + 1
    assert found.verify(oidc.NAME, token).subject == oidc.SUBJECT
    assert Keys.calls == 2


def test_old_keys_serve_while_no_new_ones_can_be_had(server: str) -> None:
    seconds = Seconds()
    found = remote(server, seconds)
    found.verify(oidc.NAME, oidc.token(NOW))
    Keys.status = 500
    seconds.now += KEEP_SECONDS + 1
    assert found.verify(oidc.NAME, oidc.token(NOW)).subject == oidc.SUBJECT


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b""),
        (404, b"{}"),
        (302, b""),
        (200, b"x"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": 1}'),
        (200, b" " * 300_000),
    ],
)
def test_keys_that_cannot_be_had_are_our_trouble(server: str, status: int, answer: bytes) -> None:
    Keys.status, Keys.answer = status, answer
    with pytest.raises(InternalError):
        remote(server, Seconds()).verify(oidc.NAME, oidc.token(NOW))


def test_while_there_are_no_keys_not_every_call_asks_for_them(server: str) -> None:
    """Anybody can make the call, and each attempt may take seconds."""
    seconds = Seconds()
    found = remote(server, seconds)
    Keys.status = 500
    for _ in range(5):
        with pytest.raises(InternalError):
            found.verify(oidc.NAME, oidc.token(NOW))
    assert Keys.calls == 1
    Keys.status = 200
    seconds.now += PAUSE_SECONDS + 1
    assert found.verify(oidc.NAME, oidc.token(NOW)).subject == oidc.SUBJECT


# The setting


def read(provider: dict[str, Any], name: str = "ci") -> Settings:
    return Settings.from_environment({"KEYSTEAD_OIDC_PROVIDERS": json.dumps({name: provider})})


GOOD: dict[str, Any] = {"issuer": "https://i", "audiences": ["a"], "jwks_url": "https://i/keys"}


def test_the_setting(tmp_path: Any) -> None:
    (provider,) = read(GOOD).oidc_providers.values()
    assert (provider.issuer, provider.audiences, provider.jwks_url) == ("https://i", ("a",), "https://i/keys")
    assert provider.algorithms == ("RS256", "ES256")
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(oidc.KEYS))
    members = {"issuer": "https://i", "audiences": ["a"], "jwks_file": str(keys)}
    assert read(members).oidc_providers["ci"].jwks == oidc.KEYS
    whole = tmp_path / "providers.json"
    whole.write_text(json.dumps({"ci": GOOD}))
    settings = Settings.from_environment({"KEYSTEAD_OIDC_PROVIDERS": str(whole)})
    assert list(settings.oidc_providers) == ["ci"]
    assert Settings.from_environment({}).oidc_providers == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": ""},
        {"audiences": []},
        {"audiences": "a"},
        {"audiences": [""]},
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"jwks_url": "http://i/keys"},
        {"jwks_url": "http://127.0.0.1.evil.example/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_url": ""},
        {"jwks": {"keys": []}},
        {"jwks": {}, "jwks_url": ""},
        {"jwks_file": "/nowhere"},
        {"unknown": 1},
    ],
)
def test_settings_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="KEYSTEAD_OIDC_PROVIDERS"):
        read({**GOOD, **changes})


@pytest.mark.parametrize("text", ["{", "[]", "/nowhere", '{"ci": 1}', '{"a/b": {}}'])
def test_texts_that_are_no_setting(text: str) -> None:
    with pytest.raises(SettingError, match="KEYSTEAD_OIDC_PROVIDERS"):
        Settings.from_environment({"KEYSTEAD_OIDC_PROVIDERS": text})
    with pytest.raises(SettingError):
        read(GOOD, name="a/b")


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
