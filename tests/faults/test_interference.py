"""Somebody else's call between any two steps of a call: both end as if one had come after the other."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chalicelib.api.gateway import Gateway
from tests.calls import ask, code
from tests.faults.stage import Stage, check_whole

Call = tuple[str, str, dict[str, Any]]

LIVE = {"SecretName": "live"}
SECRET_CALLS: dict[str, Call] = {
    "get": ("ssm", "GetSecretValue", {**LIVE, "VersionId": "v1"}),
    "get current": ("ssm", "GetSecretValue", {**LIVE, "VersionId": "SSM_Current"}),
    "describe": ("ssm", "DescribeSecret", LIVE),
    "list versions": ("ssm", "ListSecretVersionIds", LIVE),
    "put": ("ssm", "PutSecretValue", {**LIVE, "VersionId": "v3", "SecretString": "mine"}),
    "update": ("ssm", "UpdateSecret", {**LIVE, "VersionId": "v1", "SecretString": "mine"}),
    "update description": ("ssm", "UpdateDescription", {**LIVE, "Description": "mine"}),
    "disable": ("ssm", "DisableSecret", LIVE),
    "drop version": ("ssm", "DeleteSecretVersion", {**LIVE, "VersionId": "v2"}),
    "create again": ("ssm", "CreateSecret", {**LIVE, "VersionId": "v1", "SecretString": "mine"}),
}
SECRET_RIVALS: dict[str, Sequence[Call]] = {
    "update": [("ssm", "UpdateSecret", {**LIVE, "VersionId": "v1", "SecretString": "theirs"})],
    "put": [("ssm", "PutSecretValue", {**LIVE, "VersionId": "v3", "SecretString": "theirs"})],
    "drop": [("ssm", "DeleteSecretVersion", {**LIVE, "VersionId": "v1"})],
    "disable": [("ssm", "DisableSecret", LIVE)],
    "delete": [("ssm", "DisableSecret", LIVE), ("ssm", "DeleteSecret", LIVE)],
    "replace": [
        ("ssm", "DisableSecret", LIVE),
        ("ssm", "DeleteSecret", LIVE),
        ("ssm", "CreateSecret", {**LIVE, "VersionId": "v1", "SecretString": "theirs"}),
        ("ssm", "PutSecretValue", {**LIVE, "VersionId": "v2", "SecretString": "theirs too"}),
    ],
}
KEY_CALLS: dict[str, Callable[[Stage], Call]] = {
    "encrypt": lambda s: ("kms", "Encrypt", {"KeyId": s.world.keys["rotating"], "Plaintext": "aGk="}),
    "describe": lambda s: ("kms", "DescribeKey", {"KeyId": s.world.keys["rotating"]}),
    "disable": lambda s: ("kms", "DisableKey", {"KeyId": s.world.keys["rotating"]}),
    "rotate": lambda s: ("kms", "RotateKey", {"KeyId": s.world.keys["rotating"]}),
    "rename": lambda s: ("kms", "UpdateAlias", {"KeyId": s.world.keys["rotating"], "Alias": "wanted"}),
    "create": lambda _: ("kms", "CreateKey", {"Alias": "wanted"}),
    "disable both": lambda s: (
        "kms",
        "DisableKeys",
        {"KeyIds": [s.world.keys["other"], s.world.keys["rotating"]]},
    ),
    "seal a secret": lambda s: (
        "ssm",
        "CreateSecret",
        {"SecretName": "new", "SecretString": "x", "KmsKeyId": s.world.keys["rotating"]},
    ),
}
KEY_RIVALS: dict[str, Callable[[Stage], Sequence[Call]]] = {
    "rotate": lambda s: [("kms", "RotateKey", {"KeyId": s.world.keys["rotating"]})],
    "disable": lambda s: [("kms", "DisableKey", {"KeyId": s.world.keys["rotating"]})],
    "archive": lambda s: [("kms", "ArchiveKey", {"KeyId": s.world.keys["rotating"]})],
    "take the alias": lambda _: [("kms", "CreateKey", {"Alias": "wanted"})],
    "rename": lambda s: [("kms", "UpdateAlias", {"KeyId": s.world.keys["rotating"], "Alias": "theirs"})],
}


def make(stage: Stage, gateway: Gateway, calls: Sequence[Call]) -> list[dict[str, Any]]:
    answers = []
    for call in calls:
        if call[1] == "CreateSecret":
            # What is made again is made later: that, and not the row's version, tells the two apart.
            stage.installation.clock.advance(0.001)
        answers.append(ask(gateway, stage.world.request(*call)))
    return answers


def shape(response: dict[str, Any]) -> str:
    """An answer without what is random."""
    plain = re.sub(r"'(RequestId|TaskId|KeyId|CiphertextBlob)': '[^']*'", "", str(response))
    return re.sub(r"'LastUsedTime': \d+", "", plain)


def values(stage: Stage, gateway: Gateway) -> list[str]:
    """What the versions of the secret are, where it can be read."""
    reads: list[Call] = [
        ("ssm", "GetSecretValue", {**LIVE, "VersionId": version}) for version in ("v1", "v2", "v3")
    ]
    return [shape(response) for response in make(stage, gateway, reads)]


def check_every_gap(stage: Stage, mine: Call, theirs: Sequence[Call]) -> None:
    installation = stage.installation
    orders = []
    for order in ((mine, *theirs), (*theirs, mine)):
        stage.reset()
        told = [shape(r) for r in make(stage, installation.gateway, order)]
        both = (told[0], told[1:]) if order[0] is mine else (told[-1], told[:-1])
        orders.append((*both, values(stage, installation.rival()), stage.outcome()))
    stage.reset()
    make(stage, installation.gateway, [mine])
    gaps = len(installation.saboteur.calls)

    for gap in range(1, gaps + 1):
        stage.reset()
        rival = installation.rival()
        answers: list[str] = []

        def interfere(
            _name: str, gap: int = gap, answers: list[str] = answers, rival: Gateway = rival
        ) -> None:
            if len(installation.saboteur.calls) == gap and not answers:
                answers.extend(shape(r) for r in make(stage, rival, theirs))

        installation.saboteur.before = interfere
        (response,) = make(stage, installation.gateway, [mine])
        installation.saboteur.rest()
        assert code(response) != "InternalError"
        check_whole(stage.rows(), installation.root.uin)
        ended = (shape(response), answers, values(stage, installation.rival()), stage.outcome())
        assert ended in orders, f"before call {gap} of {gaps}"


@pytest.mark.parametrize("theirs", SECRET_RIVALS)
@pytest.mark.parametrize("mine", SECRET_CALLS)
def test_calls_on_one_secret(stage: Stage, mine: str, theirs: str) -> None:
    check_every_gap(stage, SECRET_CALLS[mine], SECRET_RIVALS[theirs])


@pytest.mark.parametrize("theirs", KEY_RIVALS)
@pytest.mark.parametrize("mine", KEY_CALLS)
def test_calls_on_one_key(stage: Stage, mine: str, theirs: str) -> None:
    check_every_gap(stage, KEY_CALLS[mine](stage), KEY_RIVALS[theirs](stage))


def test_the_first_secrets_of_an_account_share_one_default_key(stage: Stage) -> None:
    """Two first secrets at once: one of them makes the key, the other finds it."""
    stage.reset()
    installation = stage.installation
    stranger = installation.add_account()
    installation.saboteur.rest()
    rival = installation.rival()
    mine, theirs = (
        stage.world.request("ssm", "CreateSecret", {"SecretName": name, "SecretString": "x"}, who=stranger)
        for name in ("mine", "theirs")
    )

    def interfere(name: str) -> None:
        if name == "write":
            installation.saboteur.before = None
            assert not code(ask(rival, theirs))

    installation.saboteur.before = interfere
    assert not code(ask(installation.gateway, mine))
    listed = ask(rival, stage.world.request("ssm", "ListSecrets", {}, who=stranger))["SecretMetadatas"]
    assert {secret["SecretName"] for secret in listed} == {"mine", "theirs"}
    assert len({secret["KmsKeyId"] for secret in listed}) == 1
