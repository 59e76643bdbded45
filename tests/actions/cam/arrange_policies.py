"""What several tests of policies and roles need: documents, principals, and the rows behind them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.actions.policy_parameters import time_text
from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.policy.document import MAX_CHARACTERS
from chalicelib.settings import Bootstrap
from chalicelib.table.port import Row
from chalicelib.table.sqlite import SqliteTable
from tests.actions.ssm.arrange import code
from tests.inspected import Inspected, InspectedTable
from tests.installation import Client, Installation

NOBODY = 10**15 + 1
"""A number that no policy, user or group has."""
NO_ROLE = "1000000000000000001"
DAY = 86400


def document(
    action: str | list[str] = "kms:*", effect: str = "allow", resource: Any = "*", **more: Any
) -> str:
    """A policy of one statement."""
    statement = {"effect": effect, "action": action, "resource": resource, **more}
    return json.dumps({"version": "2.0", "statement": [statement]})


def trust(account: str, **more: Any) -> str:
    """A trust policy: all of the account."""
    statement = {
        "effect": "allow",
        "action": "name/sts:AssumeRole",
        "principal": {"qcs": [f"qcs::cam::uin/{account}:root"]},
        **more,
    }
    return json.dumps({"version": "2.0", "statement": [statement]})


def long_document(characters: int) -> str:
    """A policy with so many characters that count."""
    bare = json.dumps(json.loads(document(resource=["qcs::kms:::key/"])), separators=(",", ":"))
    return document(resource=["qcs::kms:::key/" + "x" * (characters - len(bare))])


MALFORMED = {
    "not JSON": ("{", "PolicyDocumentError"),
    "empty": ("", "PolicyDocumentError"),
    "a list": ("[]", "PolicyDocumentError"),
    "a member too many": ('{"version":"2.0","statement":[],"id":1}', "PolicyDocumentError"),
    "a name twice": ('{"version":"2.0","version":"2.0","statement":[]}', "PolicyDocumentError"),
    "too long": (long_document(MAX_CHARACTERS + 1), "PolicyDocumentLengthOverLimit"),
    "another version": (document().replace("2.0", "1.0"), "VersionError"),
    "no statement": ('{"version":"2.0","statement":[]}', "StatementError"),
    "an effect": (document(effect="permit"), "EffectError"),
    "no action": ('{"version":"2.0","statement":[{"effect":"allow","resource":"*"}]}', "ActionError"),
    "an action": (document("kms Decrypt"), "ActionError"),
    "no resource": ('{"version":"2.0","statement":[{"effect":"allow","action":"*"}]}', "ResourceError"),
    "a resource": (document(resource="key/x"), "ResourceQcsError"),
    "a project": (document(resource="qcs:1:kms::uin/1:key/x"), "ResourceProjectError"),
    "a region": (document(resource="qcs::kms:A B:uin/1:key/x"), "ResourceRegionError"),
    "an account": (document(resource="qcs::kms::1:key/x"), "ResourceUinError"),
    "a name": (document(resource="qcs::kms::uin/1:"), "ResourceContentError"),
    "conditions": (document(condition=[]), "ConditionError"),
    "an operator": (document(condition={"string_is": {"qcs:ip": "x"}}), "ConditionTypeError"),
    "a key": (document(condition={"string_equal": {"qcs:moon": "x"}}), "ConditionContentError"),
    "a principal": (document(principal={"qcs": ["qcs::cam::uin/1:root"]}), "PrincipalError"),
}
"""What is wrong with a policy: its text, and the last part of the code that says so."""


def make_policy(cam: Client, name: str = "p", text: str = "", **more: Any) -> int:
    answer = cam.CreatePolicy(PolicyName=name, PolicyDocument=text or document(), **more)
    return int(answer.PolicyId)


def make_group(cam: Client, name: str = "g") -> int:
    return int(cam.CreateGroup(GroupName=name).GroupId)


def make_role(installation: Installation, cam: Client, name: str = "r", **more: Any) -> str:
    answer = cam.CreateRole(RoleName=name, PolicyDocument=trust(installation.root.uin), **more)
    return str(answer.RoleId)


@dataclass(frozen=True)
class Holder:
    """A user, a group or a role, and how policies are attached to it and detached from it."""

    kind: str
    id: int | str

    def attach(self, cam: Client, policy_id: int) -> Any:
        return getattr(cam, f"Attach{self.kind}Policy")(PolicyId=policy_id, **self.named("Attach"))

    def detach(self, cam: Client, policy_id: int) -> Any:
        return getattr(cam, f"Detach{self.kind}Policy")(PolicyId=policy_id, **self.named("Detach"))

    def attached(self, cam: Client) -> list[int]:
        """The ids of its policies."""
        page = {"Page": 1, "Rp": 200}
        answer = getattr(cam, f"ListAttached{self.kind}Policies")(
            **self.named("" if self.kind == "Role" else "Target"), **page
        )
        assert answer.TotalNum == len(answer.List)
        return [p.PolicyId for p in answer.List]

    def named(self, prefix: str) -> dict[str, Any]:
        return {f"{prefix}{'Uin' if self.kind == 'User' else self.kind + 'Id'}": self.id}

    @property
    def target(self) -> str:
        return f"{self.kind.lower()}/{self.id}"


def make_holder(installation: Installation, cam: Client, kind: str) -> Holder:
    match kind:
        case "User":
            return Holder(kind, int(installation.add_user("u").uin))
        case "Group":
            return Holder(kind, make_group(cam))
        case _:
            return Holder(kind, make_role(installation, cam))


KINDS = ("User", "Group", "Role")


def entities(cam: Client, policy_id: int, **more: Any) -> list[str]:
    """What a policy is attached to: `1/<uin>`, `2/<group id>`, `3/<role id>`."""
    answer = cam.ListEntitiesForPolicy(PolicyId=policy_id, Rp=200, **more)
    return [f"{e.RelatedType}/{e.Id}" for e in answer.List]


def listed(cam: Client, policy_id: int) -> Any:
    """A policy's line in the list."""
    (found,) = [p for p in cam.ListPolicies(Rp=200).List if p.PolicyId == policy_id]
    return found


def may(installation: Installation, who: Bootstrap) -> bool:
    """Whether a user may list keys."""
    kms = installation.client("kms", who=who)
    ended = code(kms.ListKeys)
    assert ended in ("ok", "AuthFailure.UnauthorizedOperation")
    return ended == "ok"


def role_of(cam: Client, role_id: str) -> Any:
    return cam.GetRole(RoleId=role_id).RoleInfo


def identity_rows(installation: Inspected) -> dict[tuple[str, str], Row]:
    """The rows of access management that are not audit events."""
    return installation.data(IDENTITY)


def check_attachments(installation: Inspected) -> None:
    """Both sides of every attachment, and the counts, say the same."""
    account = installation.root.uin
    seal = installation.service.seals.of(account)
    rows = {sk: row for (pk, sk), row in identity_rows(installation).items() if pk == f"AC#{account}"}
    attached, bounds = set(), []
    for sk, row in rows.items():
        if sk.startswith("AT#"):
            members = seal.members(row)
            attached |= {(str(policy_id), sk[3:]) for policy_id, _ in members["policies"]}
            bounds += [str(members["boundary"])] * bool(members["boundary"])
    listed_as = {tuple(sk[3:].split("#")) for sk in rows if sk.startswith("PA#")}
    assert attached == listed_as
    counted = {sk: row.number for sk, row in rows.items() if sk.startswith("PC#") and row.number}
    expected: dict[str, int] = {}
    for policy_id, target in attached:
        expected[f"PC#{policy_id}#attached"] = expected.get(f"PC#{policy_id}#attached", 0) + 1
        kind, _, name = target.partition("/")
        assert f"{kind[0].upper()}#{name}" in rows, "what it is attached to is there"
        assert int(policy_id) < 100 or f"P#{policy_id}" in rows, "what is attached is there"
    for policy_id in bounds:
        expected[f"PC#{policy_id}#bounds"] = expected.get(f"PC#{policy_id}#bounds", 0) + 1
        assert int(policy_id) < 100 or f"P#{policy_id}" in rows
    assert counted == expected
    quota = rows.get("CT#policies")
    assert (quota.number if quota else 0) == len([sk for sk in rows if sk.startswith("P#")])
    documents = {sk for sk in rows if sk.startswith("PV#")}
    for sk, row in rows.items():
        if sk.startswith("P#"):
            documents -= {f"PV#{sk[2:]}#{v['id']:08d}" for v in seal.members(row)["versions"]}
    assert not documents


def at(clock: ManualClock) -> str:
    """Now, as answers say it."""
    return time_text(clock.now())


class CountingTable(InspectedTable):
    """Counts the calls that read, and does something else before one of them."""

    reads = 0
    before: tuple[int, Callable[[], Any]] | None = None

    def _count(self) -> None:
        self.reads += 1
        if self.before is not None and self.reads >= self.before[0]:
            (_, hook), self.before = self.before, None
            hook()

    def get(self, pk: str, sk: str) -> Row | None:
        self._count()
        return super().get(pk, sk)

    def batch_get(self, keys: Any) -> list[Row | None]:
        self._count()
        # One call, however it is made of others here.
        return [SqliteTable.get(self, *key) for key in keys]

    def query(self, pk: str, **more: Any) -> list[Row]:
        self._count()
        return super().query(pk, **more)

    def do_before(self, read: int, hook: Callable[[], Any]) -> None:
        """Do something before the so many-th read from now."""
        self.before = (self.reads + read, hook)

    def is_done(self) -> bool:
        """Whether that has happened."""
        return self.before is None


class Counted(Inspected):
    """An installation whose identity table counts."""

    identity: CountingTable

    def open_table(self, domain: str) -> Any:
        if domain != IDENTITY:
            return super().open_table(domain)
        self.tables[domain] = self.identity = CountingTable(":memory:", self.clock)
        return self.identity
