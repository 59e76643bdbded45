"""Rows and ciphertexts changed outside the service: whatever is done to them, one refusal, and never another value."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.context import IDENTITY
from chalicelib.formats import record
from chalicelib.settings import Bootstrap
from chalicelib.table.port import Delete, Expect, Put, Row
from tests.calls import ask, code, tc3
from tests.inspected import NOW, Inspected
from tests.installation import FIPS, SM

PLAINTEXT = base64.b64encode(b"a plaintext").decode()
CONTEXT = '{"a": "1", "b": "2"}'

SECRET_REFUSED = "FailedOperation.AccessKmsError"
BLOB_REFUSED = "InvalidParameterValue.InvalidCiphertext"
KEY_UNKNOWN = "ResourceUnavailable.CmkNotFound"


class Vault:
    """An installation with a thief who can write its tables."""

    def __init__(self) -> None:
        self.installation = Inspected()
        self.root = self.installation.root
        self.other = self.installation.add_account()

    def ask(
        self, service: str, action: str, *, who: Bootstrap | None = None, region: str = SM, **given: Any
    ) -> dict[str, Any]:
        request = tc3(who or self.root, NOW, service, action, given, region=region)
        return ask(self.installation.gateway, request)

    def done(self, service: str, action: str, **given: Any) -> dict[str, Any]:
        response = self.ask(service, action, **given)
        assert not code(response), response
        return response

    def create(self, name: str, value: str = "", **more: Any) -> None:
        binary = more.pop("binary", False)
        content = (
            {"SecretBinary": base64.b64encode(value.encode()).decode()} if binary else {"SecretString": value}
        )
        self.done("ssm", "CreateSecret", SecretName=name, **{"VersionId": "v1", **content, **more})

    def read(self, name: str, version: str = "v1", **more: Any) -> str:
        """The value, or the code of the refusal."""
        response = self.ask("ssm", "GetSecretValue", SecretName=name, VersionId=version, **more)
        return code(response) or response["SecretString"] or response["SecretBinary"]

    def row(self, pk: str, sk: str, domain: str = SM) -> Row:
        row = self.installation.tables[domain].get(pk, sk)
        assert row is not None, (pk, sk)
        return row

    def put(self, row: Row, domain: str = SM) -> None:
        self.installation.tables[domain].write([Put(row, Expect.ANY)])

    def value_row(
        self, name: str, version: str = "v1", who: Bootstrap | None = None, region: str = SM
    ) -> Row:
        return self.row(f"S#{(who or self.root).uin}#{region}#{name}", f"V#{version}", region)

    def secret_row(self, name: str) -> Row:
        return self.row(f"S#{self.root.uin}#{SM}#{name}", "M")

    def key_row(self, key_id: str, who: Bootstrap | None = None, region: str = SM) -> Row:
        return self.row(f"K#{(who or self.root).uin}#{region}#{key_id}", "M", region)


def edited(row: Row, **members: Any) -> Row:
    return replace(row, body=record.encode({**record.decode(row.body), **members}))


def flips(content: bytes, masks: tuple[int, ...] = (0x01, 0x80, 0xFF)) -> Iterator[tuple[int, bytes]]:
    """Every content that differs in one byte: by its lowest bit, its highest, and all of them."""
    for at, byte in enumerate(content):
        for mask in masks:
            yield at, content[:at] + bytes([byte ^ mask]) + content[at + 1 :]


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    made = Vault()
    yield made
    made.installation.service.close()


@pytest.fixture(autouse=True)
def afresh(vault: Vault) -> Iterator[None]:
    """Each test leaves the tables as they were."""
    tables = vault.installation.tables
    for region in (SM, FIPS):
        vault.ask("ssm", "GetRegions", region=region)
    images = {domain: table.snapshot() for domain, table in tables.items()}
    yield
    for domain, image in images.items():
        tables[domain].restore(image)
    vault.installation.service.hints.clear()


# Ciphertexts


def encrypted(vault: Vault, **more: Any) -> tuple[str, str]:
    key = vault.done("kms", "CreateKey", Alias="k", **more)["KeyId"]
    blob = vault.done("kms", "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)
    return key, blob["CiphertextBlob"]


def decrypted(vault: Vault, blob: str, context: str = CONTEXT, **more: Any) -> str:
    response = vault.ask("kms", "Decrypt", CiphertextBlob=blob, EncryptionContext=context, **more)
    return code(response) or str(response["Plaintext"])


@pytest.mark.parametrize("usage", ["ENCRYPT_DECRYPT_SM4", "ENCRYPT_DECRYPT_AES_256"])
def test_every_byte_of_a_ciphertext(vault: Vault, usage: str) -> None:
    _, blob = encrypted(vault, KeyUsage=usage)
    assert decrypted(vault, blob) == PLAINTEXT
    content = base64.b64decode(blob)
    for at, other in flips(content):
        assert decrypted(vault, base64.b64encode(other).decode()) == BLOB_REFUSED, at


def test_every_character_of_a_ciphertext(vault: Vault) -> None:
    _, blob = encrypted(vault)
    for at, character in enumerate(blob):
        for other in {chr(ord(character) ^ 1), "A" if character != "A" else "B", "=", "-", "é", ""} - {
            character
        }:
            text = blob[:at] + other + blob[at + 1 :]
            assert decrypted(vault, text) == BLOB_REFUSED, (at, other)


def test_other_lengths_and_places_of_a_ciphertext(vault: Vault) -> None:
    _, blob = encrypted(vault)
    content = base64.b64decode(blob)
    others = [content[:length] for length in range(len(content))] + [
        content + b"\0",
        content * 2,
        b"\0" + content,
    ]
    for other in others:
        text = base64.b64encode(other).decode()
        assert decrypted(vault, text or "A") == BLOB_REFUSED
    for text in (blob + "=", blob + "\n", " " + blob, blob.lower(), blob.rstrip("=") + "====", "A" * 8193):
        assert decrypted(vault, text) == BLOB_REFUSED


@pytest.mark.parametrize(
    "context",
    [
        "",
        "{}",
        '{"a": "1"}',
        '{"a": "1", "b": "3"}',
        '{"a": "2", "b": "1"}',
        '{"ab": "12"}',
        '{"A": "1", "b": "2"}',
    ],
)
def test_another_context(vault: Vault, context: str) -> None:
    _, blob = encrypted(vault)
    assert decrypted(vault, blob, context) == BLOB_REFUSED
    assert decrypted(vault, blob, '{ "b":"2", "\\u0061":"1" }') == PLAINTEXT, "the same map"


def test_a_ciphertext_elsewhere(vault: Vault) -> None:
    _, blob = encrypted(vault)
    assert decrypted(vault, blob, who=vault.other) == BLOB_REFUSED
    assert decrypted(vault, blob, region=FIPS) == BLOB_REFUSED


def test_parts_of_two_ciphertexts_do_not_fit(vault: Vault) -> None:
    key, blob = encrypted(vault)
    again = vault.done("kms", "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)
    one, other = (base64.b64decode(text) for text in (blob, again["CiphertextBlob"]))
    assert len(one) == len(other)
    for cut in range(22, len(one)):
        mixed = one[:cut] + other[cut:]
        if mixed not in (one, other):
            assert decrypted(vault, base64.b64encode(mixed).decode()) == BLOB_REFUSED


# Sealed secret rows


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("region", [SM, FIPS])
def test_every_byte_of_a_sealed_value(vault: Vault, region: str, *, binary: bool) -> None:
    vault.create("a", "a value", binary=binary, region=region)
    row = vault.value_row("a", region=region)
    for at, other in flips(row.body):
        vault.put(replace(row, body=other), region)
        assert vault.read("a", region=region) == SECRET_REFUSED, at
    for other in (b"", row.body[:-1], row.body[1:], row.body + b"\0", b"\0" * len(row.body), row.body * 2):
        vault.put(replace(row, body=other), region)
        assert vault.read("a", region=region) == SECRET_REFUSED
    vault.put(row, region)
    assert vault.read("a", region=region) != SECRET_REFUSED


def test_a_sealed_value_that_is_gone(vault: Vault) -> None:
    vault.create("a", "a value")
    row = vault.value_row("a")
    vault.installation.tables[SM].write([Delete(row.pk, row.sk, Expect.EXISTS)])
    assert vault.read("a") == SECRET_REFUSED


def test_sealed_values_swapped_between_names(vault: Vault) -> None:
    for name in ("a", "b"):
        vault.create(name, f"of {name}")
    swap(vault, vault.value_row("a"), vault.value_row("b"))
    assert (vault.read("a"), vault.read("b")) == (SECRET_REFUSED, SECRET_REFUSED)


def test_sealed_values_swapped_between_versions(vault: Vault) -> None:
    vault.create("a", "first")
    vault.done("ssm", "PutSecretValue", SecretName="a", VersionId="v2", SecretString="second")
    swap(vault, vault.value_row("a", "v1"), vault.value_row("a", "v2"))
    for version in ("v1", "v2", "SSM_Current"):
        assert vault.read("a", version) == SECRET_REFUSED


def test_sealed_values_swapped_between_accounts(vault: Vault) -> None:
    """Even under one name, and with the secret's own row and the key's copied too."""
    vault.create("a", "of root")
    vault.create("a", "of other", who=vault.other)
    swap(vault, vault.value_row("a"), vault.value_row("a", who=vault.other))
    assert vault.read("a") == SECRET_REFUSED
    assert vault.read("a", who=vault.other) == SECRET_REFUSED


def test_everything_of_a_secret_copied_to_another_account(vault: Vault) -> None:
    vault.create("a", "of root")
    key = record.decode(vault.secret_row("a").body)["key"]
    mine, theirs = vault.root.uin, vault.other.uin
    for row in (vault.secret_row("a"), vault.key_row(key)):
        moved = replace(row, pk=row.pk.replace(mine, theirs))
        vault.put(moved)
        refused = vault.read("a", who=vault.other)
        assert refused in ("ResourceNotFound", SECRET_REFUSED)
        vault.put(edited(moved, account=theirs))
    value = vault.value_row("a")
    vault.put(replace(value, pk=value.pk.replace(mine, theirs)))
    assert vault.read("a", who=vault.other) == SECRET_REFUSED
    assert vault.read("a") == "of root"


def test_everything_of_a_secret_copied_to_another_region(vault: Vault) -> None:
    vault.create("a", "of SM")
    key = record.decode(vault.secret_row("a").body)["key"]
    for row in (vault.secret_row("a"), vault.key_row(key)):
        vault.put(edited(replace(row, pk=row.pk.replace(SM, FIPS)), region=FIPS), FIPS)
    value = vault.value_row("a")
    vault.put(replace(value, pk=value.pk.replace(SM, FIPS)), FIPS)
    assert vault.read("a", region=FIPS) == SECRET_REFUSED


def test_everything_of_a_secret_copied_to_another_name(vault: Vault) -> None:
    """The row that says what the secret is called may lie; what was sealed knows."""
    vault.create("a", "of a")
    secret, value = vault.secret_row("a"), vault.value_row("a")
    pk = secret.pk[:-1] + "b"
    vault.put(replace(secret, pk=pk))
    vault.put(replace(value, pk=pk))
    assert vault.read("b") == "ResourceNotFound"
    vault.put(edited(replace(secret, pk=pk), name="b"))
    assert vault.read("b") == SECRET_REFUSED


def test_a_text_made_binary_and_the_other_way_round(vault: Vault) -> None:
    for name, binary in (("text", False), ("binary", True)):
        vault.create(name, "a value", binary=binary)
        row = vault.secret_row(name)
        ((version, created, serial, was_binary, key_version),) = record.decode(row.body)["versions"]
        assert was_binary is binary
        vault.put(edited(row, versions=[[version, created, serial, not binary, key_version]]))
        assert vault.read(name) == SECRET_REFUSED


@pytest.mark.parametrize("member", ["uid", "key", "serial", "key_version", "id"])
def test_what_a_secrets_row_says_of_a_value(vault: Vault, member: str) -> None:
    vault.create("a", "a value")
    row = vault.secret_row("a")
    members = record.decode(row.body)
    ((_, created, serial, binary, key_version),) = members["versions"]
    changed: dict[str, Any] = {
        "uid": {"uid": members["uid"][:-1] + "x"},
        "key": {"key": vault.done("kms", "CreateKey", Alias="mine")["KeyId"]},
        "serial": {"versions": [["v1", created, serial + 1, binary, key_version]]},
        "key_version": {"versions": [["v1", created, serial, binary, key_version + 1]]},
        "id": {"versions": [["v2", created, serial, binary, key_version]]},
    }[member]
    vault.put(edited(row, **changed))
    assert vault.read("a", "v2" if member == "id" else "v1") == SECRET_REFUSED


@pytest.mark.parametrize("what", ["secret", "key"])
def test_every_byte_of_the_rows_around_a_value(vault: Vault, what: str) -> None:
    """They are not sealed: their changes may go unnoticed, but never make another value of it."""
    vault.create("a", "a value")
    key = record.decode(vault.secret_row("a").body)["key"]
    row = vault.secret_row("a") if what == "secret" else vault.key_row(key)
    for at, other in flips(row.body, masks=(0x01,)):
        vault.put(replace(row, body=other))
        assert vault.read("a") in (
            "a value",
            "ResourceNotFound",
            "InternalError",
            "ResourceUnavailable.ResourceDisabled",
            "ResourceUnavailable.ResourcePendingDeleted",
            SECRET_REFUSED,
        ), at


def test_an_older_value_put_back(vault: Vault) -> None:
    vault.create("a", "old")
    old = vault.value_row("a")
    vault.done("ssm", "UpdateSecret", SecretName="a", VersionId="v1", SecretString="new")
    assert vault.read("a") == "new"
    vault.put(old)
    assert vault.read("a") == SECRET_REFUSED


def test_the_value_of_a_dropped_version_put_back(vault: Vault) -> None:
    vault.create("a", "old")
    old = vault.value_row("a")
    vault.done("ssm", "DeleteSecretVersion", SecretName="a", VersionId="v1")
    vault.put(old)
    assert vault.read("a") == "ResourceNotFound"
    vault.done("ssm", "PutSecretValue", SecretName="a", VersionId="v1", SecretString="new")
    vault.put(old)
    assert vault.read("a") == SECRET_REFUSED


def test_the_value_of_a_deleted_secret_put_back(vault: Vault) -> None:
    """Alone it is nothing; under a new secret of the same name, with as many writes, it does not open."""
    vault.create("a", "old")
    old = vault.value_row("a")
    vault.done("ssm", "DisableSecret", SecretName="a")
    vault.done("ssm", "DeleteSecret", SecretName="a")
    vault.put(old)
    assert vault.read("a") == "ResourceNotFound"
    vault.create("a", "new")
    assert vault.read("a") == "new"
    vault.put(old)
    assert vault.read("a") == SECRET_REFUSED


def swap(vault: Vault, one: Row, other: Row) -> None:
    assert one.body != other.body
    vault.put(replace(one, body=other.body))
    vault.put(replace(other, body=one.body))


# Keys


def uses(vault: Vault, key: str, blob: str, **more: Any) -> tuple[str, str]:
    """How encrypting and decrypting end."""
    made = vault.ask("kms", "Encrypt", KeyId=key, Plaintext=PLAINTEXT, **more)
    return code(made), decrypted(vault, blob, **more)


def with_token(row: Row, token: str) -> Row:
    (backing,) = record.decode(row.body)["backing"]
    return edited(row, backing=[{**backing, "token": token}])


def token(row: Row) -> str:
    (backing,) = record.decode(row.body)["backing"]
    return str(backing["token"])


def test_every_byte_of_a_key_token(vault: Vault) -> None:
    key, blob = encrypted(vault)
    row = vault.key_row(key)
    for at, other in flips(base64.b64decode(token(row))):
        vault.put(with_token(row, base64.b64encode(other).decode()))
        assert uses(vault, key, blob) == ("InternalError", BLOB_REFUSED), at
    vault.put(row)
    assert uses(vault, key, blob) == ("", PLAINTEXT)


def test_tokens_swapped_between_keys(vault: Vault) -> None:
    key, blob = encrypted(vault)
    other = vault.done("kms", "CreateKey", Alias="other")["KeyId"]
    vault.put(with_token(vault.key_row(key), token(vault.key_row(other))))
    assert uses(vault, key, blob) == ("InternalError", BLOB_REFUSED)


def test_tokens_swapped_between_accounts(vault: Vault) -> None:
    key, blob = encrypted(vault)
    theirs = vault.done("kms", "CreateKey", Alias="k", who=vault.other)["KeyId"]
    row = vault.key_row(theirs, who=vault.other)
    vault.put(with_token(row, token(vault.key_row(key))))
    assert (
        code(vault.ask("kms", "Encrypt", KeyId=theirs, Plaintext=PLAINTEXT, who=vault.other))
        == "InternalError"
    )
    # The whole row, under the very id that the ciphertext names.
    mine = vault.key_row(key)
    pk = mine.pk.replace(vault.root.uin, vault.other.uin)
    vault.put(replace(mine, pk=pk))
    assert uses(vault, key, blob, who=vault.other) == (KEY_UNKNOWN, KEY_UNKNOWN)
    vault.put(edited(replace(mine, pk=pk), account=vault.other.uin))
    assert uses(vault, key, blob, who=vault.other) == ("InternalError", BLOB_REFUSED)


def test_tokens_swapped_between_regions(vault: Vault) -> None:
    key, blob = encrypted(vault)
    mine = vault.key_row(key)
    vault.put(edited(replace(mine, pk=mine.pk.replace(SM, FIPS)), region=FIPS), FIPS)
    assert uses(vault, key, blob, region=FIPS) == ("InternalError", BLOB_REFUSED)


def test_a_token_of_another_version_of_the_key(vault: Vault) -> None:
    key, blob = encrypted(vault)
    (backing,) = record.decode(vault.key_row(key).body)["backing"]
    vault.put(edited(vault.key_row(key), backing=[{**backing, "version": backing["version"] + 1}]))
    assert uses(vault, key, blob) == ("InternalError", BLOB_REFUSED)


def test_a_token_of_another_kind(vault: Vault) -> None:
    key, blob = encrypted(vault)
    row = vault.key_row(key)
    (backing,) = record.decode(row.body)["backing"]
    assert backing["kind"] == "SM4"
    vault.put(edited(row, backing=[{**backing, "kind": "AES_256"}]))
    assert uses(vault, key, blob) == ("InternalError", BLOB_REFUSED)


def test_a_secret_whose_key_was_tampered_with(vault: Vault) -> None:
    vault.create("a", "a value")
    key = record.decode(vault.secret_row("a").body)["key"]
    other = vault.done("kms", "CreateKey", Alias="other")["KeyId"]
    vault.put(with_token(vault.key_row(key), token(vault.key_row(other))))
    assert vault.read("a") == SECRET_REFUSED


# Access keys


def access_key_row(vault: Vault, who: Bootstrap) -> Row:
    return vault.row(f"AK#{who.secret_id}", "K", IDENTITY)


def signs(vault: Vault, who: Bootstrap) -> str:
    return code(vault.ask("ssm", "ListSecrets", who=who))


def test_access_keys_swapped(vault: Vault) -> None:
    mine, theirs = access_key_row(vault, vault.root), access_key_row(vault, vault.other)
    vault.put(replace(theirs, body=mine.body), IDENTITY)
    assert signs(vault, vault.other) == "AuthFailure.SecretIdNotFound"
    vault.put(edited(replace(theirs, body=mine.body), id=vault.other.secret_id), IDENTITY)
    for secret_key in (vault.other.secret_key, vault.root.secret_key):
        who = replace(vault.other, secret_key=secret_key)
        assert signs(vault, who) == "AuthFailure.SecretIdNotFound"
    vault.put(edited(mine, id=vault.other.secret_id), IDENTITY)
    assert signs(vault, vault.root) == "AuthFailure.SecretIdNotFound"


def cam(vault: Vault, action: str, **given: Any) -> dict[str, Any]:
    return vault.done("cam", action, **given)


@pytest.mark.parametrize("member", ["account", "uin", "user", "token", "sealed"])
def test_an_access_key_edited(vault: Vault, member: str) -> None:
    """A user's key made the root account's, or given another SecretKey."""
    thief = vault.installation.add_user("thief")
    assert signs(vault, thief) == "AuthFailure.UnauthorizedOperation"
    row = access_key_row(vault, thief)
    for other, user_type in ((vault.root, "Root"), (vault.other, "Root"), (vault.other, "CAMUser")):
        of_root = record.decode(access_key_row(vault, other).body)
        vault.put(edited(row, user_type=user_type, **{member: of_root[member]}), IDENTITY)
        answer = signs(vault, thief)
        assert answer in ("InternalError", "AuthFailure.SecretIdNotFound")
        assert signs(vault, replace(thief, secret_key=vault.root.secret_key)) == answer


@pytest.mark.parametrize(
    ("member", "value"), [("user_type", "Root"), ("user", "root"), ("created", 1), ("id", "AKIDother")]
)
def test_an_access_key_edited_in_one_member(vault: Vault, member: str, value: object) -> None:
    user = vault.installation.add_user("u")
    vault.put(edited(access_key_row(vault, user), **{member: value}), IDENTITY)
    assert signs(vault, user) in ("InternalError", "AuthFailure.SecretIdNotFound")


def test_an_access_key_switched_on_again(vault: Vault) -> None:
    """By its status, with another serial, and by the row as it was."""
    user = vault.installation.add_user("u")
    before = access_key_row(vault, user)
    cam(vault, "UpdateAccessKey", AccessKeyId=user.secret_id, Status="Inactive", TargetUin=int(user.uin))
    assert signs(vault, user) == "AuthFailure.SecretIdNotFound"
    after = access_key_row(vault, user)
    for row, refusal in (
        (edited(after, status="Active"), "InternalError"),
        (edited(after, status="Active", serial=1), "AuthFailure.SecretIdNotFound"),
        (edited(before, serial=2), "InternalError"),
        (before, "AuthFailure.SecretIdNotFound"),
    ):
        vault.put(row, IDENTITY)
        assert signs(vault, user) == refusal
    assert vault.ask("ssm", "ListSecrets", who=vault.root)["TotalCount"] == 0
    cam_keys = cam(vault, "ListAccessKeys", TargetUin=int(user.uin))["AccessKeys"]
    assert [key["Status"] for key in cam_keys] == ["Inactive"]


def test_switching_off_a_key_that_somebody_marked_as_switched_off_does_so(vault: Vault) -> None:
    """Else the administrator believes it, and the old row is put back."""
    user = vault.installation.add_user("u")
    before = access_key_row(vault, user)
    vault.put(edited(before, status="Inactive"), IDENTITY)
    off: dict[str, Any] = {"AccessKeyId": user.secret_id, "Status": "Inactive", "TargetUin": int(user.uin)}
    assert code(vault.ask("cam", "UpdateAccessKey", **off)) == "InternalError"


@pytest.mark.parametrize("action", ["DeleteAccessKey", "DeleteUser"])
def test_a_deleted_access_key_put_back(vault: Vault, action: str) -> None:
    user = vault.installation.add_user("u")
    before = access_key_row(vault, user)
    if action == "DeleteUser":
        cam(vault, action, Name="u", Force=1)
    else:
        cam(vault, action, AccessKeyId=user.secret_id, TargetUin=int(user.uin))
    vault.put(before, IDENTITY)
    assert signs(vault, user) == "AuthFailure.SecretIdNotFound"


def test_a_users_row_edited(vault: Vault) -> None:
    """The list of its keys is sealed: no key is added, no serial turned back, no other user's row put in its place."""
    user, other = vault.installation.add_user("u"), vault.installation.add_user("other")
    cam(vault, "UpdateAccessKey", AccessKeyId=user.secret_id, Status="Inactive", TargetUin=int(user.uin))
    pk = f"AC#{vault.root.uin}"
    row, others = (vault.row(pk, f"U#{who.uin}", IDENTITY) for who in (user, other))
    for body in (
        row.body.replace(b'"serial":2', b'"serial":1'),
        row.body.replace(b'"CAMUser"', b'"Root"'),
        others.body,
    ):
        assert body != row.body
        vault.put(replace(row, body=body), IDENTITY)
        assert code(vault.ask("cam", "ListAccessKeys", TargetUin=int(user.uin))) == "InternalError"
        assert signs(vault, user) in ("InternalError", "AuthFailure.SecretIdNotFound")
    assert signs(vault, other) == "AuthFailure.UnauthorizedOperation"


def test_a_name_that_leads_to_another_user(vault: Vault) -> None:
    vault.installation.add_user("u")
    vault.installation.add_user("other")
    pk = f"AC#{vault.root.uin}"
    theirs = vault.row(pk, "UN#other", IDENTITY)
    vault.put(replace(theirs, sk="UN#u"), IDENTITY)
    assert code(vault.ask("cam", "DeleteUser", Name="u", Force=1)) == "ResourceNotFound.UserNotExist"


def test_a_membership_made_up(vault: Vault) -> None:
    """Who writes to the table puts nobody into a group: a user with such a row may do nothing at all."""
    user = vault.installation.add_user("u")
    group = cam(vault, "CreateGroup", GroupName="admins")["GroupId"]
    pk, sk = f"AC#{vault.root.uin}", f"UG#{user.uin}#{group}"
    for body in (b"", record.encode({"at": 1})):
        vault.put(Row(pk=pk, sk=sk, body=body), IDENTITY)
        assert signs(vault, user) == "InternalError"


def test_every_byte_of_an_access_keys_row(vault: Vault) -> None:
    """Whatever is changed: the key does not work, or stands for whom it stood for, or for nobody that may do anything."""
    user = vault.installation.add_user("u")
    row = access_key_row(vault, user)
    for at, other in flips(row.body, masks=(0x01,)):
        vault.put(replace(row, body=other), IDENTITY)
        response = vault.ask("ssm", "ListSecrets", who=user)
        assert code(response) in (
            "InternalError",
            "AuthFailure.SecretIdNotFound",
            "AuthFailure.UnauthorizedOperation",
        ), at
        event = vault.installation.event(response["RequestId"])
        assert event["account"] in ("0", vault.root.uin)
        assert event.get("uin", "") in ("", user.uin)


def test_every_byte_of_sealed_secret_key(vault: Vault) -> None:
    row = access_key_row(vault, vault.root)
    for member in ("token", "sealed"):
        for at, other in flips(base64.b64decode(record.decode(row.body)[member])):
            vault.put(edited(row, **{member: base64.b64encode(other).decode()}), IDENTITY)
            assert signs(vault, vault.root) == "InternalError", (member, at)
    vault.put(row, IDENTITY)
    assert not signs(vault, vault.root)


# Damaged beyond reading


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x02{}",
        b"\x01{}",
        b"\x01[]",
        b"\x01null",
        b"\x01{",
        b"\xff" * 40,
        b"\x01" + b"[" * 9999,
    ],
)
def test_rows_that_are_no_records(vault: Vault, body: bytes) -> None:
    key, blob = encrypted(vault)
    vault.create("a", "a value")
    vault.put(replace(vault.secret_row("a"), body=body))
    vault.put(replace(vault.key_row(key), body=body))
    for action in ("GetSecretValue", "DeleteSecretVersion"):
        assert code(vault.ask("ssm", action, SecretName="a", VersionId="v1")) == "InternalError"
    assert code(vault.ask("kms", "DescribeKey", KeyId=key)) == "InternalError"
    assert decrypted(vault, blob) == "InternalError"
