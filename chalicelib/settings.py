"""Settings: the only reader of the environment. docs/settings.md lists every variable."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Self

_DEFAULT_REGIONS = "ap-guangzhou:sm,ap-beijing:sm,ap-singapore:fips"
_STANDARDS = ("sm", "fips")
_FALLBACKS = ("sm4", "sm2", "ml_kem", "ml_dsa", "oaep_sha256")
_MECHANISMS = ("AES_KEY_WRAP_PAD", "AES_GCM", "CKK_SM4", "SM4_KEY_GEN", "SM4_KEY_WRAP_PAD", "SM4_GCM")


OIDC_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


class SettingError(Exception):
    """A variable has a value that the service cannot work with."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The account that the first start creates; empty parts are made up."""

    uin: str = ""
    secret_id: str = ""
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """Whose web identity tokens AssumeRoleWithWebIdentity takes; its keys are here or at an address."""

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    jwks: Mapping[str, Any] | None = None
    """A JSON Web Key Set (RFC 7517)."""
    jwks_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator decides."""

    stage: str = "local"
    home: Path = Path(".keystead")
    regions: Mapping[str, str] = field(default_factory=lambda: _regions(_DEFAULT_REGIONS))
    """Region name -> standard: `sm` (SM4) or `fips` (AES-256)."""
    port: int = 8000
    """Where the server listens."""
    listen: str = "127.0.0.1"
    """The address that `chalicelib.serve` listens on."""
    workers: int = 2
    threads: int = 8
    """Calls that one worker answers at once."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    access_log: bool = False
    metrics_token: str = field(default="", repr=False)
    """The bearer token of GET /metrics; empty: there are no metrics."""
    hosts: tuple[str, ...] = ()
    """Public host names that a client may have signed although a proxy changed the Host header."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose X-Forwarded-For says where a request comes from."""
    table: str = "sqlite"
    table_names: Mapping[str, str] = field(default_factory=dict)
    """DynamoDB table names: `identity`, `data`, `audit`."""
    table_endpoint: str = ""
    """Another address for DynamoDB: an emulator, a VPC endpoint."""
    aws_region: str = "us-east-1"
    hsm: str = "software"
    software_hsm_in_production: bool = False
    seal_key: str = field(default="", repr=False)
    """32 bytes in hexadecimal, in place of the generated file."""
    seal_passphrase: str = field(default="", repr=False)
    """What the software keystore's domain keys are sealed under; empty: a generated file in `home`."""
    pkcs11_module: str = ""
    """The path of a PKCS#11 module."""
    pkcs11_tokens: tuple[str, ...] = ()
    """Labels of tokens that hold the same domain keys, the preferred one first."""
    pkcs11_pin: str = field(default="", repr=False)
    pkcs11_pin_file: Path | None = None
    """A file with the PIN, in place of `pkcs11_pin`."""
    pkcs11_mechanisms: Mapping[str, int] = field(default_factory=dict)
    """Name -> a vendor's number, where it is not the standard's."""
    hsm_fallbacks: frozenset[str] = frozenset(_FALLBACKS)
    """What may be done in process memory where a token cannot do it."""
    hsm_deadline_seconds: int = 5
    """How long one operation may look for a token that answers."""
    libcrypto: str = ""
    """The path of OpenSSL 3's libcrypto, which SM2 needs, or `gmssl`; empty: the system's, then gmssl."""
    throttle: bool = True
    rates: Mapping[str, float] = field(default_factory=dict)
    """`service.Action`, or `service.*`, -> requests a second and account, in place of the defaults."""
    max_secrets: int = 1000
    """Of an account in a region; so is the next one."""
    max_keys: int = 200
    secret_value_max_bytes: int = 4096
    strict_private_edition: bool = False
    """CreateSecret demands VersionId, as the private edition's document does."""
    accept_unsigned_payload: bool = False
    require_signed_action: bool = False
    """Refuse TC3 requests that do not sign X-TC-Action, X-TC-Version and X-TC-Region."""
    refuse_replays: bool = False
    """Refuse a signature that was used before; honest bursts of equal reads are not refused."""
    oidc_providers: Mapping[str, OidcProvider] = field(default_factory=dict)
    """By the name that AssumeRoleWithWebIdentity calls ProviderId."""
    delete_keys_in_use: bool = False
    """Let ScheduleKeyDeletion take a key that a secret's value is sealed under."""
    credential_cache_seconds: int = 10
    audit_days: int = 30
    audit_anchor: Path | None = None
    """The directory where every digest of the audit trail is appended to a file; None: nowhere."""
    bootstrap: Bootstrap = field(default_factory=Bootstrap)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Self:
        """Read every `KEYSTEAD_*` variable; raise SettingError for an unknown or impossible one."""
        reader = _Reader(env)
        settings = cls(
            stage=reader.text("STAGE", "local"),
            home=Path(reader.text("HOME", ".keystead")),
            regions=_regions(reader.text("REGIONS", _DEFAULT_REGIONS)),
            port=_integer("PORT", env.get("PORT", "8000"), 1, 65535),
            listen=reader.text("LISTEN", "127.0.0.1"),
            workers=reader.integer("WORKERS", 2, 1, 64),
            threads=reader.integer("THREADS", 8, 1, 256),
            tls_certificate=reader.path("TLS_CERTIFICATE"),
            tls_key=reader.path("TLS_KEY"),
            access_log=reader.flag("ACCESS_LOG", default=False),
            metrics_token=reader.form(
                "METRICS_TOKEN", r"[!-~]{16,256}", "16 to 256 printable characters without spaces"
            ),
            hosts=tuple(h.strip() for h in reader.text("HOSTS", "").split(",") if h.strip()),
            table=reader.choice("TABLE", ("sqlite", "dynamodb")),
            table_names={
                "identity": reader.text("TABLE_IDENTITY", "keystead-identity"),
                "data": reader.text("TABLE_DATA", "keystead-data"),
                "audit": reader.text("TABLE_AUDIT", "keystead-audit"),
            },
            table_endpoint=reader.text("TABLE_ENDPOINT", ""),
            aws_region=reader.text("AWS_REGION", env.get("AWS_REGION", "us-east-1")),
            hsm=reader.choice("HSM", ("software", "pkcs11", "cloudhsm")),
            software_hsm_in_production=reader.flag("SOFTWARE_HSM_IN_PRODUCTION", default=False),
            seal_key=reader.form("SEAL_KEY", r"[0-9a-f]{64}", "64 hexadecimal digits in lower case"),
            seal_passphrase=reader.text("SEAL_PASSPHRASE", ""),
            pkcs11_module=reader.text("PKCS11_MODULE", ""),
            pkcs11_tokens=_names("PKCS11_TOKENS", reader.text("PKCS11_TOKENS", "")),
            pkcs11_pin=reader.text("PKCS11_PIN", ""),
            pkcs11_pin_file=reader.path("PKCS11_PIN_FILE"),
            pkcs11_mechanisms=_mechanisms(reader.text("PKCS11_MECHANISMS", "")),
            hsm_fallbacks=_fallbacks(reader.text("HSM_FALLBACKS", ",".join(_FALLBACKS))),
            hsm_deadline_seconds=reader.integer("HSM_DEADLINE_SECONDS", 5, 1, 25),
            libcrypto=reader.text("LIBCRYPTO", ""),
            throttle=reader.flag("THROTTLE", default=True),
            rates=_rates(reader.text("RATES", "")),
            max_secrets=reader.integer("MAX_SECRETS", 1000, 1, 100_000),
            max_keys=reader.integer("MAX_KEYS", 200, 1, 100_000),
            secret_value_max_bytes=reader.integer("SECRET_VALUE_MAX_BYTES", 4096, 1, 32768),
            strict_private_edition=reader.flag("STRICT_PRIVATE_EDITION", default=False),
            accept_unsigned_payload=reader.flag("ACCEPT_UNSIGNED_PAYLOAD", default=False),
            require_signed_action=reader.flag("REQUIRE_SIGNED_ACTION", default=False),
            trusted_proxies=_networks(reader.text("TRUSTED_PROXIES", "")),
            refuse_replays=reader.flag("REFUSE_REPLAYS", default=False),
            oidc_providers=_oidc_providers(reader.text("OIDC_PROVIDERS", "")),
            delete_keys_in_use=reader.flag("DELETE_KEYS_IN_USE", default=False),
            credential_cache_seconds=reader.integer("CREDENTIAL_CACHE_SECONDS", 10, 0, 300),
            audit_days=reader.integer("AUDIT_DAYS", 30, 1, 365),
            audit_anchor=reader.path("AUDIT_ANCHOR"),
            bootstrap=Bootstrap(
                uin=reader.form("BOOTSTRAP_UIN", r"[1-9][0-9]{0,17}", "a number of up to 18 digits"),
                secret_id=reader.form(
                    "BOOTSTRAP_SECRET_ID", r"AKID[A-Za-z0-9]{1,60}", "AKID and up to 60 letters and digits"
                ),
                secret_key=reader.form(
                    "BOOTSTRAP_SECRET_KEY", r"[!-~]{8,128}", "8 to 128 printable characters without spaces"
                ),
            ),
        )
        reader.refuse_leftovers()
        if settings.seal_key and settings.seal_passphrase:
            raise SettingError("KEYSTEAD_SEAL_KEY and KEYSTEAD_SEAL_PASSPHRASE exclude each other")
        if (settings.tls_certificate is None) != (settings.tls_key is None):
            raise SettingError("KEYSTEAD_TLS_CERTIFICATE and KEYSTEAD_TLS_KEY belong together")
        return settings


class _Reader:
    """Reads `KEYSTEAD_*` and remembers what was asked for, so that a misspelt name is an error."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._left = {k.removeprefix("KEYSTEAD_"): v for k, v in env.items() if k.startswith("KEYSTEAD_")}

    def text(self, name: str, default: str) -> str:
        return self._left.pop(name, default)

    def path(self, name: str) -> Path | None:
        value = self.text(name, "")
        return Path(value) if value else None

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        value = self.text(name, options[0])
        if value not in options:
            raise SettingError(f"KEYSTEAD_{name} is one of: {', '.join(options)}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.text(name, "on" if default else "off").lower()
        if value not in ("on", "off"):
            raise SettingError(f"KEYSTEAD_{name} is on or off")
        return value == "on"

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        return _integer(f"KEYSTEAD_{name}", self.text(name, str(default)), low, high)

    def form(self, name: str, pattern: str, says: str) -> str:
        value = self.text(name, "")
        if value and not re.fullmatch(pattern, value):
            raise SettingError(f"KEYSTEAD_{name} is {says}")
        return value

    def refuse_leftovers(self) -> None:
        if self._left:
            names = ", ".join(f"KEYSTEAD_{name}" for name in sorted(self._left))
            raise SettingError(f"unknown settings: {names}; docs/settings.md lists those that exist")


def _integer(name: str, value: str, low: int, high: int) -> int:
    if not (re.fullmatch(r"[0-9]{1,18}", value) and low <= int(value) <= high):
        raise SettingError(f"{name} is a whole number from {low} to {high}")
    return int(value)


def _regions(text: str) -> dict[str, str]:
    regions = {}
    for part in text.split(","):
        name, _, standard = part.strip().partition(":")
        if not name or standard not in _STANDARDS or name in regions:
            raise SettingError("KEYSTEAD_REGIONS is a list such as ap-guangzhou:sm,ap-singapore:fips")
        regions[name] = standard
    return regions


def _names(variable: str, text: str) -> tuple[str, ...]:
    names = tuple(filter(None, (part.strip() for part in text.split(","))))
    if len(set(names)) != len(names):
        raise SettingError(f"KEYSTEAD_{variable} names something twice")
    return names


def _fallbacks(text: str) -> frozenset[str]:
    names = _names("HSM_FALLBACKS", text)
    if not set(names) <= set(_FALLBACKS):
        raise SettingError(f"KEYSTEAD_HSM_FALLBACKS is a list, or empty, of: {', '.join(_FALLBACKS)}")
    return frozenset(names)


def _mechanisms(text: str) -> dict[str, int]:
    mechanisms = {}
    for part in _names("PKCS11_MECHANISMS", text):
        name, _, number = part.partition("=")
        if name not in _MECHANISMS or name in mechanisms or not re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", number):
            raise SettingError(
                "KEYSTEAD_PKCS11_MECHANISMS is a list such as AES_GCM=0x80001087; the names are: "
                + ", ".join(_MECHANISMS)
            )
        mechanisms[name] = int(number, 16)
    return mechanisms


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingError("KEYSTEAD_TRUSTED_PROXIES is a list such as 10.0.0.0/8,192.0.2.7") from None


def _oidc_providers(text: str) -> dict[str, OidcProvider]:
    try:
        members = json.loads(text if text.startswith("{") else Path(text).read_text()) if text else {}
        return {name: _oidc_provider(name, **provider) for name, provider in members.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        raise SettingError(
            "KEYSTEAD_OIDC_PROVIDERS is a JSON object, or the path of one: provider name -> issuer, audiences, one of"
            " jwks, jwks_file and jwks_url (https), and perhaps algorithms"
        ) from None


def _oidc_provider(  # noqa: PLR0917 - the members of the JSON object
    name: str,
    issuer: str,
    audiences: Any,
    algorithms: Sequence[str] = ("RS256", "ES256"),
    jwks: Mapping[str, Any] | None = None,
    jwks_file: str = "",
    jwks_url: str = "",
) -> OidcProvider:
    if jwks_file:
        jwks = json.loads(Path(jwks_file).read_text())
    is_local = re.match(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?/", jwks_url)
    if (
        not re.fullmatch(r"[A-Za-z0-9_+=,.@-]{1,128}", name)
        or not issuer
        or not isinstance(audiences, list)
        or not all(isinstance(a, str) and a for a in audiences)
        or not audiences
        or not algorithms
        or not set(algorithms) <= set(OIDC_ALGORITHMS)
        or bool(jwks) == bool(jwks_url)
        or not (jwks is None or isinstance(jwks["keys"], list))
        or not (not jwks_url or jwks_url.startswith("https://") or is_local)
    ):
        raise ValueError
    return OidcProvider(
        issuer=issuer,
        audiences=tuple(audiences),
        algorithms=tuple(algorithms),
        jwks=jwks,
        jwks_url=jwks_url,
    )


def _rates(text: str) -> dict[str, float]:
    rates = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = re.fullmatch(r"([a-z]+\.(?:\*|[A-Z][A-Za-z0-9]*))=([0-9]{1,9}(?:\.[0-9]{1,9})?)", part)
        if match is None or match[1] in rates:
            raise SettingError("KEYSTEAD_RATES is a list such as ssm.CreateSecret=200,kms.*=500")
        rates[match[1]] = float(match[2])
        if not rates[match[1]]:
            raise SettingError("every rate in KEYSTEAD_RATES is above 0")
    return rates
