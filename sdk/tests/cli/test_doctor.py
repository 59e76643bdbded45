"""`keystead doctor`: each check, where it passes and where it does not."""

import datetime as dt
import ipaddress
import json
import ssl
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from chalicelib.ids import secret_key
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keystead.cli.exits import Exit

from ..client.servers import FaultyServer, KeysteadServer, Step, http, say
from .terminal import CommandLine, Ran


def checks(ran: Ran) -> dict[str, tuple[str, str, str]]:
    """Check -> status, found, do."""
    return {each["Check"]: (each["Status"], each["Found"], each["Do"]) for each in json.loads(ran.out)}


def answered(date: str) -> Step:
    content = b'{"Response":{"Error":{"Code":"MissingParameter","Message":"No."},"RequestId":"r"}}'
    return say(http(content, extra=f"Date: {date}\r\n" if date else ""))


def test_a_sound_installation_passes(line: CommandLine, keystead: KeysteadServer) -> None:
    ran = line("doctor")
    assert ran.code == Exit.OK, ran.err
    found = checks(ran)
    assert not [each for each in found.values() if each[0] == "FAIL"]
    assert found["answer"][0] == found["clock"][0] == found["HSM"][0] == "OK"
    assert found["identity"][0] == "WARN"  # it is the root
    assert "SM4" in found["algorithms"][1]
    assert "SM2" in found["algorithms"][1]
    assert "kms:Decrypt" in found["permissions"][1]
    assert found["region"][1].startswith("ap-guangzhou, one of ap-guangzhou, ap-beijing")
    assert found["SM3, SM4"][0] == found["SM2 signatures"][0] == "OK"
    assert keystead.installation.root.secret_key not in ran.out + ran.err


def test_nothing_is_changed(line: CommandLine, keystead: KeysteadServer) -> None:
    line("doctor")
    asked = {action for action in keystead.calls if action}
    assert asked
    assert all(each.startswith(("Get", "List", "Simulate", "Generate")) for each in asked)


def test_a_user_sees_what_it_may(line: CommandLine, keystead: KeysteadServer) -> None:
    who = keystead.installation.add_user("alice")
    line.environment |= {"TENCENTCLOUD_SECRET_ID": who.secret_id, "TENCENTCLOUD_SECRET_KEY": who.secret_key}
    ran = line("doctor")
    found = checks(ran)
    assert found["identity"][0] == "OK"
    assert found["kms"][0] == found["HSM"][0] == "WARN"
    assert "kms:GetServiceStatus" in found["kms"][2]
    assert ran.code == Exit.OK


def test_without_an_endpoint_or_a_region(line: CommandLine) -> None:
    line.environment["KEYSTEAD_REGION"] = None
    ran = line("doctor")
    assert ran.code == Exit.REFUSED
    assert checks(ran)["profile"][0] == "FAIL"
    assert "--region" in checks(ran)["profile"][2]


def test_a_region_that_is_none(line: CommandLine) -> None:
    line.environment["KEYSTEAD_REGION"] = "ap-nowhere"
    ran = line("doctor")
    assert ran.code == Exit.REFUSED
    assert "--region" in checks(ran)["identity"][2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYSTEAD_ENDPOINT", "x"),
        ("KEYSTEAD_ENDPOINT", "http://0.0.0.0:1"),
        ("KEYSTEAD_REGION", "a b"),
    ],
)
def test_settings_that_cannot_be_are_a_check_that_fails(line: CommandLine, name: str, value: str) -> None:
    line.environment[name] = value
    ran = line("doctor")
    assert ran.code == Exit.REFUSED
    assert checks(ran)["profile"][0] == "FAIL"


def test_authorities_that_are_not_there_are_a_check_that_fails(line: CommandLine) -> None:
    place = line.home / ".config" / "keystead" / "config.toml"
    place.parent.mkdir(parents=True)
    place.write_text('[default]\nca_file = "/no/such.pem"\n')
    line.environment["KEYSTEAD_ENDPOINT"] = "https://127.0.0.1:1"
    ran = line("doctor")
    assert ran.code == Exit.REFUSED
    assert "ca_file" in checks(ran)["profile"][2]


def test_nobody_listens(line: CommandLine) -> None:
    line.environment["KEYSTEAD_ENDPOINT"] = "http://127.0.0.1:1"
    ran = line("doctor")
    assert (ran.code, checks(ran)["connection"][0]) == (Exit.REFUSED, "FAIL")
    line.environment["KEYSTEAD_ENDPOINT"] = "https://no-such-host.invalid"
    assert checks(line("doctor"))["name"][0] == "FAIL"


def test_something_else_answers(line: CommandLine) -> None:
    server = FaultyServer()
    server.script = [say(http(b"<html>hello</html>"))]
    line.environment["KEYSTEAD_ENDPOINT"] = server.endpoint
    found = checks(line("doctor"))
    server.close()
    assert found["answer"][0] == "FAIL"
    assert found["clock"][:2] == ("WARN", "the answer has no date")


@pytest.mark.parametrize(
    ("ahead", "status"),
    [(0, "OK"), (-20, "OK"), (100, "WARN"), (-200, "WARN"), (400, "FAIL"), (-4000, "FAIL")],
)
def test_the_clock_is_compared(line: CommandLine, ahead: int, status: str) -> None:
    server = FaultyServer()
    server.script = [answered(formatdate(time.time() + ahead, usegmt=True))]
    line.environment["KEYSTEAD_ENDPOINT"] = server.endpoint
    found = checks(line("doctor"))["clock"]
    server.close()
    assert found[0] == status
    if ahead:
        assert abs(int(found[1].split()[0]) - abs(ahead)) <= 1
        assert ("behind" if ahead > 0 else "ahead of") in found[1]


def test_credentials_that_are_not_there_or_wrong(line: CommandLine, keystead: KeysteadServer) -> None:
    root = keystead.installation.root
    line.environment |= {"TENCENTCLOUD_SECRET_KEY": secret_key()}
    found = checks(line("doctor"))
    assert found["identity"][0] == "FAIL"
    assert "SecretKey" in found["identity"][2]
    line.environment |= {"TENCENTCLOUD_SECRET_ID": "AKIDnobody", "TENCENTCLOUD_SECRET_KEY": root.secret_key}
    assert "another one made it" in checks(line("doctor"))["identity"][2]
    line.environment |= {"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None}
    ran = line("doctor")
    assert (ran.code, checks(ran)["credentials"][0]) == (Exit.REFUSED, "FAIL")


def test_a_signature_that_comes_too_late(line: CommandLine, keystead: KeysteadServer) -> None:
    keystead.installation.clock.advance(400)
    assert "clock" in checks(line("doctor"))["identity"][2]


def test_the_file_with_the_key_is_named_and_looked_at(line: CommandLine, keystead: KeysteadServer) -> None:
    root = keystead.installation.root
    line.environment |= {"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None}
    place = line.home / ".keystead" / "credentials"
    place.parent.mkdir()
    place.write_text(f"[default]\nsecret_id = {root.secret_id}\nsecret_key = {root.secret_key}\n")
    place.chmod(0o600)
    status, found, _ = checks(line("doctor"))["credentials"]
    assert (status, str(place) in found) == ("OK", True)
    place.chmod(0o644)
    status, _, do = checks(line("doctor"))["credentials"]
    assert (status, do) == ("WARN", f"Others can read the file: chmod 600 {place}")


def tls(folder: Path, days: int) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the certificate that it is trusted by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context, pem


@pytest.mark.parametrize(("days", "status"), [(90, "OK"), (10, "WARN")])
def test_certificates_are_checked_and_their_end_is_told(
    line: CommandLine, tmp_path: Path, days: int, status: str
) -> None:
    context, pem = tls(tmp_path, days)
    server = FaultyServer(context)
    server.script = [answered(formatdate(usegmt=True))]
    line.environment["KEYSTEAD_ENDPOINT"] = server.endpoint
    assert "not trusted" in checks(line("doctor"))["connection"][1]
    config = tmp_path / ".config" / "keystead" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f"[default]\nca_file = {json.dumps(str(pem))}\n")
    found = checks(line("doctor"))
    server.close()
    assert found["connection"][0] == status
    assert "TLSv1.3" in found["connection"][1]


def test_the_table_is_for_people(line: CommandLine) -> None:
    out = line("--output", "table", "doctor").out
    assert "Status." not in out
    assert out.splitlines()[0].split() == ["Check", "Status", "Found", "Do"]
