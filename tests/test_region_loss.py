"""Two regions on one machine, each with its own table and HSM domain: one loses all its files, the other goes on."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import bootstrap, wiring
from chalicelib.api.gateway import Gateway
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.jobs import schedule
from chalicelib.settings import Bootstrap, Settings
from tests.calls import ask, code, tc3

HERE, THERE = "ap-guangzhou", "ap-singapore"
REGIONS = {HERE: "sm", THERE: "fips"}
NOW = 1_800_000_000


class Machine:
    """An installation in a directory, and what happens to its files between two starts."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = ManualClock(NOW)
        self.start()

    def start(self) -> None:
        """The service runs anew on what files there are."""
        settings = Settings(home=self.home, regions=REGIONS, throttle=False, credential_cache_seconds=0)
        self.service = wiring.build(settings, self.clock)
        self.root, _ = bootstrap.ensure(self.service)
        self.gateway = Gateway(self.service)

    def stop(self) -> None:
        self.service.close()

    def files(self, domain: str) -> list[Path]:
        """A domain's table and keys."""
        found = sorted(p for p in self.home.rglob("*") if p.is_file() and domain in p.name)
        assert {p.suffix for p in found} >= {".sqlite"}
        assert len(found) > 1, "a table and keys at least"
        return found

    def ask(
        self, region: str, service: str, action: str, who: Bootstrap | None = None, **given: Any
    ) -> dict[str, Any]:
        self.clock.advance(1)
        request = tc3(who or self.root, self.clock.now(), service, action, given, region=region)
        return ask(self.gateway, request)

    def done(
        self, region: str, service: str, action: str, who: Bootstrap | None = None, **given: Any
    ) -> dict[str, Any]:
        response = self.ask(region, service, action, who, **given)
        assert not code(response), response
        return response


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "home")
    yield made
    made.stop()


@pytest.fixture
def world(machine: Machine) -> dict[str, str]:
    """In each region a key with a ciphertext and a secret; a replicated secret; a user who may read secrets."""
    made = {}
    for region in REGIONS:
        key = machine.done(region, "kms", "CreateKey", Alias="k")["KeyId"]
        made[f"key {region}"] = key
        blob = machine.done(region, "kms", "Encrypt", KeyId=key, Plaintext="aGVsbG8=")
        made[f"blob {region}"] = blob["CiphertextBlob"]
        machine.done(region, "ssm", "CreateSecret", SecretName="own", VersionId="v1", SecretString=region)
    machine.done(HERE, "ssm", "CreateSecret", SecretName="both", VersionId="v1", SecretString="old")
    machine.done(HERE, "ssm", "ReplicateSecret", SecretName="both", ReplicaRegions=[{"Region": THERE}])
    machine.done(HERE, "ssm", "UpdateSecret", SecretName="both", VersionId="v1", SecretString="shared")
    user = machine.done(HERE, "cam", "AddUser", Name="reader", UseApi=1)
    made["id"], made["key"] = user["SecretId"], user["SecretKey"]
    policy = '{"version": "2.0", "statement": [{"effect": "allow", "action": "ssm:Get*", "resource": "*"}]}'
    number = machine.done(HERE, "cam", "CreatePolicy", PolicyName="p", PolicyDocument=policy)["PolicyId"]
    machine.done(HERE, "cam", "AttachUserPolicy", PolicyId=number, AttachUin=user["Uin"])
    return made


def lose_all(machine: Machine, region: str) -> None:
    for file in machine.files(region):
        file.unlink()


def lose_the_keys(machine: Machine, region: str) -> None:
    for file in machine.files(region):
        if ".sqlite" not in file.name:
            file.unlink()


def lose_the_table(machine: Machine, region: str) -> None:
    for file in machine.files(region):
        if ".sqlite" in file.name:
            file.unlink()


def damage_the_table(machine: Machine, region: str) -> None:
    for file in machine.files(region):
        if ".sqlite" in file.name:
            file.write_bytes(b"not a database at all" * 1000)


LOSSES: tuple[Callable[[Machine, str], None], ...] = (
    lose_all,
    lose_the_keys,
    lose_the_table,
    damage_the_table,
)
GONE = {
    "InternalError",
    "ResourceNotFound",
    "FailedOperation.AccessKmsError",
    "InvalidParameterValue.InvalidCiphertext",
    "ResourceUnavailable.CmkNotFound",
}


def check_works(machine: Machine, world: dict[str, str], region: str) -> None:
    """Keys, secrets and sign-in of a region."""
    opened = machine.done(region, "kms", "Decrypt", CiphertextBlob=world[f"blob {region}"])
    assert opened["Plaintext"] == "aGVsbG8="
    machine.done(region, "kms", "Encrypt", KeyId=world[f"key {region}"], Plaintext="aGVsbG8=")
    new = f"new-{machine.clock.now()}"
    machine.done(region, "ssm", "CreateSecret", SecretName=new, VersionId="v1", SecretString="x")
    reader = Bootstrap("", world["id"], world["key"])
    read = machine.done(region, "ssm", "GetSecretValue", reader, SecretName="own", VersionId="v1")
    assert read["SecretString"] == region
    denied = machine.ask(region, "ssm", "DeleteSecret", reader, SecretName="own")
    assert code(denied) == "AuthFailure.UnauthorizedOperation"
    machine.done(region, "cam", "GetUser", Name="reader")
    machine.done(region, "sts", "GetCallerIdentity", reader)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("lost", REGIONS)
def test_the_other_region_goes_on(
    machine: Machine, world: dict[str, str], lose: Callable[[Machine, str], None], lost: str
) -> None:
    (other,) = set(REGIONS) - {lost}
    machine.stop()
    lose(machine, lost)
    machine.start()
    check_works(machine, world, other)
    named: dict[str, Any] = {"SecretName": "own", "VersionId": "v1"}
    for service, action, given in (
        ("ssm", "GetSecretValue", named),
        ("kms", "Decrypt", {"CiphertextBlob": world[f"blob {lost}"]}),
        ("kms", "Encrypt", {"KeyId": world[f"key {lost}"], "Plaintext": "aGVsbG8="}),
    ):
        answer = machine.ask(lost, service, action, **given)
        assert code(answer) in GONE, action
        assert "RequestId" in answer
    for job in schedule.EVERY_MINUTES:
        assert schedule.run(machine.service, job)[other].ran
    check_works(machine, world, other)


@pytest.mark.parametrize("lose", LOSSES, ids=lambda f: f.__name__)
def test_a_replica_survives_its_primary_and_takes_its_place(
    machine: Machine, world: dict[str, str], lose: Callable[[Machine, str], None]
) -> None:
    machine.stop()
    lose(machine, HERE)
    machine.start()
    named: dict[str, Any] = {"SecretName": "both", "VersionId": "v1"}
    assert machine.done(THERE, "ssm", "GetSecretValue", **named)["SecretString"] == "shared"
    assert code(machine.ask(THERE, "ssm", "UpdateSecret", **named, SecretString="x")) == "OperationDenied"
    machine.done(THERE, "ssm", "StopSecretReplication", SecretName="both")
    machine.done(THERE, "ssm", "UpdateSecret", **named, SecretString="newer")
    assert machine.done(THERE, "ssm", "GetSecretValue", **named)["SecretString"] == "newer"
    schedule.run(machine.service, "replicate_secrets")
    assert machine.done(THERE, "ssm", "GetSecretValue", **named)["SecretString"] == "newer"


def test_a_region_that_comes_back_learns_that_its_replica_has_left(
    machine: Machine, world: dict[str, str], tmp_path: Path
) -> None:
    """The lost files are found again: two secrets by then, and neither writes over the other."""
    machine.stop()
    shutil.copytree(machine.home, tmp_path / "found")
    damage_the_table(machine, HERE)
    machine.start()
    named: dict[str, Any] = {"SecretName": "both", "VersionId": "v1"}
    machine.done(THERE, "ssm", "StopSecretReplication", SecretName="both")
    machine.done(THERE, "ssm", "UpdateSecret", **named, SecretString="newer")
    machine.stop()
    for file in machine.files(HERE):
        file.unlink()
    for file in (tmp_path / "found").rglob(f"*{HERE}*"):
        shutil.copy(file, machine.home / file.relative_to(tmp_path / "found"))
    machine.start()
    machine.done(HERE, "ssm", "UpdateSecret", **named, SecretString="meanwhile")
    schedule.run(machine.service, "replicate_secrets")
    schedule.run(machine.service, "replicate_secrets")
    assert machine.done(THERE, "ssm", "GetSecretValue", **named)["SecretString"] == "newer"
    assert machine.done(HERE, "ssm", "GetSecretValue", **named)["SecretString"] == "meanwhile"
    assert "ReplicationStatus" not in machine.done(HERE, "ssm", "DescribeSecret", SecretName="both")


def test_each_domain_has_files_of_its_own(machine: Machine, world: dict[str, str]) -> None:
    domains = (*REGIONS, IDENTITY)
    found = [set(machine.files(domain)) for domain in domains]
    assert sum(map(len, found)) == len(set().union(*found))
