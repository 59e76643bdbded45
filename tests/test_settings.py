"""Settings: every variable, its limits, and that a misspelt one is refused."""

import inspect
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from chalicelib import settings as module
from chalicelib.settings import Bootstrap, OidcProvider, SettingError, Settings

TAKEN: list[tuple[str, str, str, Any]] = [
    ("KEYSTEAD_STAGE", "prod", "stage", "prod"),
    ("KEYSTEAD_HOME", "/var/lib/keystead", "home", Path("/var/lib/keystead")),
    ("KEYSTEAD_REGIONS", "a:sm, b:fips", "regions", {"a": "sm", "b": "fips"}),
    ("PORT", "1", "port", 1),
    ("PORT", "65535", "port", 65535),
    ("KEYSTEAD_HOSTS", "kms.example.com, ssm.example.com,", "hosts", ("kms.example.com", "ssm.example.com")),
    ("KEYSTEAD_TABLE", "dynamodb", "table", "dynamodb"),
    ("KEYSTEAD_TABLE_ENDPOINT", "http://127.0.0.1:4566", "table_endpoint", "http://127.0.0.1:4566"),
    ("KEYSTEAD_AWS_REGION", "eu-west-1", "aws_region", "eu-west-1"),
    ("AWS_REGION", "eu-west-2", "aws_region", "eu-west-2"),
    ("KEYSTEAD_HSM", "software", "hsm", "software"),
    ("KEYSTEAD_HSM", "pkcs11", "hsm", "pkcs11"),
    ("KEYSTEAD_HSM", "cloudhsm", "hsm", "cloudhsm"),
    ("KEYSTEAD_PKCS11_MODULE", "/opt/p11.so", "pkcs11_module", "/opt/p11.so"),
    ("KEYSTEAD_PKCS11_TOKENS", "one, the other", "pkcs11_tokens", ("one", "the other")),
    ("KEYSTEAD_PKCS11_PIN", "user:password", "pkcs11_pin", "user:password"),
    ("KEYSTEAD_PKCS11_PIN_FILE", "/run/pin", "pkcs11_pin_file", Path("/run/pin")),
    ("KEYSTEAD_PKCS11_PIN_FILE", "", "pkcs11_pin_file", None),
    (
        "KEYSTEAD_PKCS11_MECHANISMS",
        "AES_GCM=0x80001087, CKK_SM4=0xFFFFFFFF",
        "pkcs11_mechanisms",
        {"AES_GCM": 0x80001087, "CKK_SM4": 0xFFFFFFFF},
    ),
    ("KEYSTEAD_HSM_FALLBACKS", "", "hsm_fallbacks", frozenset()),
    ("KEYSTEAD_HSM_FALLBACKS", "sm2, sm4", "hsm_fallbacks", frozenset({"sm2", "sm4"})),
    ("KEYSTEAD_HSM_DEADLINE_SECONDS", "1", "hsm_deadline_seconds", 1),
    ("KEYSTEAD_HSM_DEADLINE_SECONDS", "25", "hsm_deadline_seconds", 25),
    ("KEYSTEAD_SOFTWARE_HSM_IN_PRODUCTION", "on", "software_hsm_in_production", True),
    ("KEYSTEAD_SEAL_PASSPHRASE", "correct horse", "seal_passphrase", "correct horse"),
    ("KEYSTEAD_SEAL_KEY", "0f" * 32, "seal_key", "0f" * 32),
    ("KEYSTEAD_LIBCRYPTO", "/usr/lib/libcrypto.so.3", "libcrypto", "/usr/lib/libcrypto.so.3"),
    ("KEYSTEAD_THROTTLE", "off", "throttle", False),
    ("KEYSTEAD_THROTTLE", "ON", "throttle", True),
    (
        "KEYSTEAD_RATES",
        "ssm.CreateSecret=0.5, kms.*=500,",
        "rates",
        {"ssm.CreateSecret": 0.5, "kms.*": 500.0},
    ),
    ("KEYSTEAD_RATES", "", "rates", {}),
    ("KEYSTEAD_LISTEN", "0.0.0.0", "listen", "0.0.0.0"),  # noqa: S104 - nothing listens
    ("KEYSTEAD_WORKERS", "1", "workers", 1),
    ("KEYSTEAD_WORKERS", "64", "workers", 64),
    ("KEYSTEAD_THREADS", "1", "threads", 1),
    ("KEYSTEAD_THREADS", "256", "threads", 256),
    ("KEYSTEAD_ACCESS_LOG", "on", "access_log", True),
    ("KEYSTEAD_METRICS_TOKEN", "sixteen-letters!", "metrics_token", "sixteen-letters!"),
    ("KEYSTEAD_MAX_SECRETS", "1", "max_secrets", 1),
    ("KEYSTEAD_MAX_SECRETS", "100000", "max_secrets", 100_000),
    ("KEYSTEAD_MAX_KEYS", "1", "max_keys", 1),
    ("KEYSTEAD_MAX_KEYS", "100000", "max_keys", 100_000),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "1", "secret_value_max_bytes", 1),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "32768", "secret_value_max_bytes", 32768),
    ("KEYSTEAD_STRICT_PRIVATE_EDITION", "on", "strict_private_edition", True),
    ("KEYSTEAD_ACCEPT_UNSIGNED_PAYLOAD", "on", "accept_unsigned_payload", True),
    ("KEYSTEAD_REQUIRE_SIGNED_ACTION", "on", "require_signed_action", True),
    ("KEYSTEAD_DELETE_KEYS_IN_USE", "on", "delete_keys_in_use", True),
    ("KEYSTEAD_REFUSE_REPLAYS", "on", "refuse_replays", True),
    (
        "KEYSTEAD_TRUSTED_PROXIES",
        "10.0.0.0/8, 2001:db8::1,",
        "trusted_proxies",
        (ip_network("10.0.0.0/8"), ip_network("2001:db8::1")),
    ),
    (
        "KEYSTEAD_OIDC_PROVIDERS",
        '{"ci": {"issuer": "i", "audiences": ["a"], "jwks_url": "https://i/k", "algorithms": ["EdDSA"]}}',
        "oidc_providers",
        {"ci": OidcProvider(issuer="i", audiences=("a",), algorithms=("EdDSA",), jwks_url="https://i/k")},
    ),
    ("KEYSTEAD_CREDENTIAL_CACHE_SECONDS", "0", "credential_cache_seconds", 0),
    ("KEYSTEAD_CREDENTIAL_CACHE_SECONDS", "300", "credential_cache_seconds", 300),
    ("KEYSTEAD_AUDIT_DAYS", "1", "audit_days", 1),
    ("KEYSTEAD_AUDIT_DAYS", "365", "audit_days", 365),
    ("KEYSTEAD_AUDIT_ANCHOR", "/srv/anchor", "audit_anchor", Path("/srv/anchor")),
    ("KEYSTEAD_AUDIT_ANCHOR", "", "audit_anchor", None),
    ("KEYSTEAD_BOOTSTRAP_UIN", "100000000001", "bootstrap", Bootstrap(uin="100000000001")),
    ("KEYSTEAD_BOOTSTRAP_SECRET_ID", "AKIDa", "bootstrap", Bootstrap(secret_id="AKIDa")),
    ("KEYSTEAD_BOOTSTRAP_SECRET_KEY", "%;#='\"key", "bootstrap", Bootstrap(secret_key="%;#='\"key")),
]
REFUSED: list[tuple[str, str]] = [
    ("KEYSTEAD_REFUSE_REPLAYS", "yes"),
    ("KEYSTEAD_TRUSTED_PROXIES", "proxy.example"),
    ("KEYSTEAD_TRUSTED_PROXIES", "10.0.0.1/8"),
    ("KEYSTEAD_OIDC_PROVIDERS", "{"),
    ("KEYSTEAD_REGIONS", ""),
    ("KEYSTEAD_REGIONS", "a"),
    ("KEYSTEAD_REGIONS", "a:aes"),
    ("KEYSTEAD_REGIONS", "a:sm,a:fips"),
    ("KEYSTEAD_REGIONS", "a:sm,"),
    ("KEYSTEAD_REGIONS", ":sm"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "http"),
    ("PORT", ""),
    ("PORT", "-1"),
    ("KEYSTEAD_TABLE", "SQLite"),
    ("KEYSTEAD_HSM", "none"),
    ("KEYSTEAD_PKCS11_TOKENS", "a,b,a"),
    ("KEYSTEAD_PKCS11_MECHANISMS", "AES_GCM"),
    ("KEYSTEAD_PKCS11_MECHANISMS", "AES_GCM=1"),
    ("KEYSTEAD_PKCS11_MECHANISMS", "AES_GCM=0x1,AES_GCM=0x2"),
    ("KEYSTEAD_PKCS11_MECHANISMS", "AES_GCM=0x123456789"),
    ("KEYSTEAD_PKCS11_MECHANISMS", "AES_ECB=0x1"),
    ("KEYSTEAD_HSM_FALLBACKS", "aes"),
    ("KEYSTEAD_HSM_FALLBACKS", "sm2,sm2"),
    ("KEYSTEAD_HSM_DEADLINE_SECONDS", "0"),
    ("KEYSTEAD_HSM_DEADLINE_SECONDS", "26"),
    ("KEYSTEAD_THROTTLE", "0"),
    ("KEYSTEAD_THROTTLE", ""),
    ("KEYSTEAD_STRICT_PRIVATE_EDITION", "yes"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=0"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=-1"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=nan"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=inf"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=1e3"),
    ("KEYSTEAD_RATES", "ssm.CreateSecret=1,ssm.CreateSecret=2"),
    ("KEYSTEAD_RATES", "CreateSecret=1"),
    ("KEYSTEAD_RATES", "*=1"),
    ("KEYSTEAD_WORKERS", "0"),
    ("KEYSTEAD_WORKERS", "65"),
    ("KEYSTEAD_THREADS", "0"),
    ("KEYSTEAD_THREADS", "257"),
    ("KEYSTEAD_TLS_CERTIFICATE", "/etc/tls/chain.pem"),
    ("KEYSTEAD_TLS_KEY", "/etc/tls/key.pem"),
    ("KEYSTEAD_ACCESS_LOG", "1"),
    ("KEYSTEAD_METRICS_TOKEN", "fifteen-letters"),
    ("KEYSTEAD_METRICS_TOKEN", "with a space in it"),
    ("KEYSTEAD_METRICS_TOKEN", "x" * 257),
    ("KEYSTEAD_MAX_SECRETS", "0"),
    ("KEYSTEAD_MAX_SECRETS", "100001"),
    ("KEYSTEAD_MAX_KEYS", "0"),
    ("KEYSTEAD_MAX_KEYS", "100001"),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "0"),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "32769"),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "4k"),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "1_0"),
    ("KEYSTEAD_SECRET_VALUE_MAX_BYTES", "9" * 5000),
    ("KEYSTEAD_CREDENTIAL_CACHE_SECONDS", "301"),
    ("KEYSTEAD_CREDENTIAL_CACHE_SECONDS", "-1"),
    ("KEYSTEAD_AUDIT_DAYS", "0"),
    ("KEYSTEAD_AUDIT_DAYS", "366"),
    ("KEYSTEAD_BOOTSTRAP_UIN", "root"),
    ("KEYSTEAD_BOOTSTRAP_UIN", "0"),
    ("KEYSTEAD_BOOTSTRAP_UIN", "1" * 19),
    ("KEYSTEAD_BOOTSTRAP_SECRET_ID", "mine"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_ID", "AKID"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_ID", "AKID" + "a" * 61),
    ("KEYSTEAD_BOOTSTRAP_SECRET_ID", "AKID/a"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_KEY", "short"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_KEY", "two words"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_KEY", "line\nbreak"),
    ("KEYSTEAD_BOOTSTRAP_SECRET_KEY", "x" * 129),
    ("KEYSTEAD_HOSTNAMES", "x"),
    ("KEYSTEAD_", "x"),
    ("KEYSTEAD_throttle", "off"),
]


def test_an_empty_environment_is_the_default() -> None:
    found = Settings.from_environment({})
    names = {"identity": "keystead-identity", "data": "keystead-data", "audit": "keystead-audit"}
    assert found == Settings(table_names=names)
    assert dict(found.regions) == {"ap-guangzhou": "sm", "ap-beijing": "sm", "ap-singapore": "fips"}


@pytest.mark.parametrize(("name", "text", "attribute", "value"), TAKEN)
def test_what_is_taken(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(Settings.from_environment({name: text}), attribute) == value


def test_every_table_has_a_name() -> None:
    names = {"KEYSTEAD_TABLE_IDENTITY": "a", "KEYSTEAD_TABLE_DATA": "b", "KEYSTEAD_TABLE_AUDIT": "c"}
    assert Settings.from_environment(names).table_names == {"identity": "a", "data": "b", "audit": "c"}


def test_a_certificate_and_its_key_belong_together() -> None:
    both = {"KEYSTEAD_TLS_CERTIFICATE": "/etc/tls/chain.pem", "KEYSTEAD_TLS_KEY": "/etc/tls/key.pem"}
    found = Settings.from_environment(both)
    assert (found.tls_certificate, found.tls_key) == (Path("/etc/tls/chain.pem"), Path("/etc/tls/key.pem"))


def test_our_own_region_comes_before_the_functions() -> None:
    both = {"KEYSTEAD_AWS_REGION": "a", "AWS_REGION": "b"}
    assert Settings.from_environment(both).aws_region == "a"


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_what_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({name: text})
    assert name in str(caught.value)
    if ("BOOTSTRAP" in name and text not in ("AKID", "0")) or "METRICS" in name:
        assert text not in str(caught.value), "the value may be a key"


def test_every_unknown_variable_is_named() -> None:
    with pytest.raises(SettingError, match="KEYSTEAD_A, KEYSTEAD_B"):
        Settings.from_environment({"KEYSTEAD_B": "1", "KEYSTEAD_A": "1", "HOME": "/root"})


def test_secrets_are_not_shown() -> None:
    canary = "c4n4ry-value"
    found = Settings(
        seal_passphrase=canary, seal_key=canary, pkcs11_pin=canary, bootstrap=Bootstrap("1", "AKIDa", canary)
    )
    assert canary not in repr(found)


def test_every_variable_is_tried_here() -> None:
    source = inspect.getsource(module)
    read = {f"KEYSTEAD_{name}" for name in re.findall(r'reader\.\w+\(\s*"([A-Z0-9_]+)"', source)}
    together = ("TABLE_IDENTITY", "TABLE_DATA", "TABLE_AUDIT", "TLS_CERTIFICATE", "TLS_KEY")
    tried = {name for name, *_ in TAKEN} | {f"KEYSTEAD_{name}" for name in together}
    assert len(read) > 20
    assert read == tried - {"PORT", "AWS_REGION"}
