"""Settings: the only reader of the environment. docs/settings.md lists every variable."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_DEFAULT_REGIONS = "ap-guangzhou:sm,ap-beijing:sm,ap-singapore:fips"
_STANDARDS = ("sm", "fips")


class SettingError(Exception):
    """A variable has a value that the service cannot work with."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The account that the first start creates; empty parts are made up."""

    uin: str = ""
    secret_id: str = ""
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator decides."""

    stage: str = "local"
    home: Path = Path(".keystead")
    regions: Mapping[str, str] = field(default_factory=lambda: _regions(_DEFAULT_REGIONS))
    """Region name -> standard: `sm` (SM4) or `fips` (AES-256)."""
    port: int = 8000
    """Where `chalice local` listens."""
    hosts: tuple[str, ...] = ()
    """Public host names that a client may have signed although a proxy changed the Host header."""
    table: str = "sqlite"
    table_names: Mapping[str, str] = field(default_factory=dict)
    """DynamoDB table names: `identity`, `data`, `audit`."""
    table_endpoint: str = ""
    """Another address for DynamoDB: an emulator, a VPC endpoint."""
    aws_region: str = "us-east-1"
    hsm: str = "software"
    software_hsm_in_production: bool = False
    seal_passphrase: str = field(default="", repr=False)
    """What the software keystore's domain keys are sealed under; empty: a generated file in `home`."""
    libcrypto: str = ""
    """The path of OpenSSL 3's libcrypto, which SM2 needs, or `gmssl`; empty: the system's, then gmssl."""
    throttle: bool = True
    rates: Mapping[str, float] = field(default_factory=dict)
    """`service.Action`, or `service.*`, -> requests a second and account, in place of the defaults."""
    secret_value_max_bytes: int = 4096
    strict_private_edition: bool = False
    """CreateSecret demands VersionId, as the private edition's document does."""
    accept_unsigned_payload: bool = False
    require_signed_action: bool = False
    """Refuse TC3 requests that do not sign X-TC-Action, X-TC-Version and X-TC-Region."""
    delete_keys_in_use: bool = False
    """Let ScheduleKeyDeletion take a key that a secret's value is sealed under."""
    credential_cache_seconds: int = 10
    audit_days: int = 30
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
            hosts=tuple(h.strip() for h in reader.text("HOSTS", "").split(",") if h.strip()),
            table=reader.choice("TABLE", ("sqlite", "dynamodb")),
            table_names={
                "identity": reader.text("TABLE_IDENTITY", "keystead-identity"),
                "data": reader.text("TABLE_DATA", "keystead-data"),
                "audit": reader.text("TABLE_AUDIT", "keystead-audit"),
            },
            table_endpoint=reader.text("TABLE_ENDPOINT", ""),
            aws_region=reader.text("AWS_REGION", env.get("AWS_REGION", "us-east-1")),
            hsm=reader.choice("HSM", ("software",)),
            software_hsm_in_production=reader.flag("SOFTWARE_HSM_IN_PRODUCTION", default=False),
            seal_passphrase=reader.text("SEAL_PASSPHRASE", ""),
            libcrypto=reader.text("LIBCRYPTO", ""),
            throttle=reader.flag("THROTTLE", default=True),
            rates=_rates(reader.text("RATES", "")),
            secret_value_max_bytes=reader.integer("SECRET_VALUE_MAX_BYTES", 4096, 1, 32768),
            strict_private_edition=reader.flag("STRICT_PRIVATE_EDITION", default=False),
            accept_unsigned_payload=reader.flag("ACCEPT_UNSIGNED_PAYLOAD", default=False),
            require_signed_action=reader.flag("REQUIRE_SIGNED_ACTION", default=False),
            delete_keys_in_use=reader.flag("DELETE_KEYS_IN_USE", default=False),
            credential_cache_seconds=reader.integer("CREDENTIAL_CACHE_SECONDS", 10, 0, 300),
            audit_days=reader.integer("AUDIT_DAYS", 30, 1, 365),
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
        return settings


class _Reader:
    """Reads `KEYSTEAD_*` and remembers what was asked for, so that a misspelt name is an error."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._left = {k.removeprefix("KEYSTEAD_"): v for k, v in env.items() if k.startswith("KEYSTEAD_")}

    def text(self, name: str, default: str) -> str:
        return self._left.pop(name, default)

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
