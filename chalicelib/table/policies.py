"""Policies, their versions and what they are attached to, as rows of the identity table.

| row | pk | sk | |
| --- | --- | --- | --- |
| a policy | `AC#<account>` | `P#<id>` | sealed |
| its name, lower case, unique | same | `PN#<name>` | |
| a version's document | same | `PV#<id>#<version>` | its digest stands in the policy's row |
| what is attached to a target | same | `AT#<target>` | sealed |
| to what a policy is attached | same | `PA#<id>#<target>` | decides nothing |
| how often it is attached, how often it bounds | same | `PC#<id>#attached`, `PC#<id>#bounds` | |
| the quota | same | `CT#policies` | |

A target is `user/<uin>`, `group/<id>` or `role/<id>`. All that is attached to it stands in one row, which lives as long
as the target does: who only writes to the table can take no attachment away.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from chalicelib.errors import AttachmentFull
from chalicelib.formats import record
from chalicelib.hsm.port import Damaged
from chalicelib.model.policy import (
    MAX_ATTACHED,
    MAX_POLICIES,
    Attachments,
    ManagedPolicy,
    PolicyVersion,
    digest,
)
from chalicelib.sealed_row import RowSeal
from chalicelib.table.port import MAX_LIMIT, MAX_OPS, Add, Check, Delete, Expect, Op, Put, Row, Table

DETACH_AT_ONCE: Final = 30
"""Attachments that go in one write: each takes two ops."""


def partition(account: str) -> str:
    """Where everything of an account is."""
    return f"AC#{account}"


def policy_row_key(account: str, policy_id: int) -> tuple[str, str]:
    """Where the policy is."""
    return partition(account), f"P#{policy_id}"


def name_row_key(account: str, name: str) -> tuple[str, str]:
    """Where the owner of a policy's name is; names differ by more than case."""
    return partition(account), f"PN#{name.lower()}"


def document_row_key(account: str, policy_id: int, version: int) -> tuple[str, str]:
    """Where a version's document is."""
    return partition(account), f"PV#{policy_id}#{version:08d}"


def attachments_row_key(account: str, target: str) -> tuple[str, str]:
    """Where it stands what is attached to a target."""
    return partition(account), f"AT#{target}"


def count_row_keys(account: str, policy_id: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Where a policy's attachments are counted, and where its uses as a boundary are."""
    return (partition(account), f"PC#{policy_id}#attached"), (partition(account), f"PC#{policy_id}#bounds")


def create(seal: RowSeal, policy: ManagedPolicy, document: str) -> list[Op]:
    """The ops that create a policy: 0 its row, 1 its name, 2 its document, 3 the quota."""
    return [
        Put(_row(seal, policy), Expect.ABSENT),
        Put(_name_row(seal.account, policy), Expect.ABSENT),
        _put_document(seal.account, policy, policy.default, document),
        Add(partition(seal.account), "CT#policies", 1, at_least=0, at_most=MAX_POLICIES),
    ]


def replace_policy(
    seal: RowSeal, old: ManagedPolicy, new: ManagedPolicy, document: str | None = None
) -> list[Op]:
    """The ops that turn `old`, as it was read, into `new`: 0 its row, 1 its name where that changes.

    `document` is that of the newest version, where there is one more.
    """
    account = seal.account
    ops: list[Op] = [Put(_row(seal, new), old.row_version)]
    if new.name.lower() != old.name.lower():
        ops += [
            Put(_name_row(account, new), Expect.ABSENT),
            Delete(*name_row_key(account, old.name), Expect.EXISTS),
        ]
    if document is not None:
        ops.append(_put_document(account, new, new.versions[-1], document))
    kept = {v.id for v in new.versions}
    gone = [v.id for v in old.versions if v.id not in kept]
    return ops + [Delete(*document_row_key(account, new.id, v), Expect.ANY) for v in gone]


def delete(account: str, policies: Sequence[ManagedPolicy], counts: Sequence[Row | None]) -> list[Op]:
    """The ops that delete policies; `counts` are their rows of `count_row_keys`, which say that nothing uses them."""
    ops: list[Op] = []
    for policy in policies:
        ops += [
            Delete(*policy_row_key(account, policy.id), policy.row_version),
            Delete(*name_row_key(account, policy.name), Expect.ANY),
            *[Delete(*document_row_key(account, policy.id, v.id), Expect.ANY) for v in policy.versions],
        ]
    keys = [key for policy in policies for key in count_row_keys(account, policy.id)]
    for key, row in zip(keys, counts, strict=True):
        ops.append(Delete(*key, row.version) if row is not None else Check(*key, Expect.ABSENT))
    return [*ops, Add(partition(account), "CT#policies", -len(policies), at_least=0)]


def create_attachments(seal: RowSeal, target: str) -> Op:
    """The op that goes with the creation of a target."""
    return Put(_attachments_row(seal, Attachments(target)), Expect.ABSENT)


def attach(seal: RowSeal, old: Attachments, policy_id: int, now: int) -> list[Op]:
    """The ops that attach a policy which is not attached yet; AttachmentFull where there is no room.

    Nothing here says that the policy exists: the caller adds a Check of its row.
    """
    if len(old.policies) >= MAX_ATTACHED:
        raise AttachmentFull(f"At most {MAX_ATTACHED} policies can be attached: detach one first.")
    new = replace(old, policies={**old.policies, policy_id: now})
    listing = Row(
        pk=partition(seal.account), sk=_listing_sk(policy_id, old.target), body=record.encode({"at": now})
    )
    return [
        _put_attachments(seal, old, new),
        Put(listing, Expect.ANY),
        Add(*count_row_keys(seal.account, policy_id)[0], 1, at_least=0),
    ]


def detach(seal: RowSeal, old: Attachments, policy_ids: Iterable[int]) -> list[Op]:
    """The ops that detach policies which are attached, at most DETACH_AT_ONCE."""
    gone = set(policy_ids)
    new = replace(old, policies={p: at for p, at in old.policies.items() if p not in gone})
    return [_put_attachments(seal, old, new), *_unlist(seal.account, old.target, gone)]


def detach_from(seal: RowSeal, policy_id: int, targets: Sequence[Attachments]) -> list[Op]:
    """The ops that detach a policy from targets that it is attached to, at most DETACH_AT_ONCE."""
    pk = partition(seal.account)
    ops: list[Op] = []
    for old in targets:
        new = replace(old, policies={p: at for p, at in old.policies.items() if p != policy_id})
        ops += [_put_attachments(seal, old, new), Delete(pk, _listing_sk(policy_id, old.target), Expect.ANY)]
    return [*ops, Add(*count_row_keys(seal.account, policy_id)[0], -len(targets), at_least=0)]


def bound(seal: RowSeal, old: Attachments, boundary: int) -> list[Op]:
    """The ops that give a target another boundary; 0 is none."""
    account = seal.account
    ops: list[Op] = [_put_attachments(seal, old, replace(old, boundary=boundary))]
    if old.boundary:
        ops.append(Add(*count_row_keys(account, old.boundary)[1], -1, at_least=0))
    if boundary:
        ops.append(Add(*count_row_keys(account, boundary)[1], 1, at_least=0))
    return ops


def forget(seal: RowSeal, old: Attachments) -> list[Op]:
    """The ops that go with the deletion of a target, where at most DETACH_AT_ONCE policies are still attached to it."""
    ops: list[Op] = [Delete(*attachments_row_key(seal.account, old.target), old.row_version)]
    if old.boundary:
        ops.append(Add(*count_row_keys(seal.account, old.boundary)[1], -1, at_least=0))
    return ops + _unlist(seal.account, old.target, old.policies)


def from_row(seal: RowSeal, row: Row) -> ManagedPolicy:
    """The policy in a row; Damaged if its seal does not fit."""
    members = seal.members(row)
    return ManagedPolicy(
        id=members["id"],
        name=members["name"],
        description=members["description"],
        created_at=members["created"],
        updated_at=members["updated"],
        versions=tuple(PolicyVersion(v["id"], v["created"], v["digest"]) for v in members["versions"]),
        default_id=members["default"],
        last_id=members["last"],
        tags=members["tags"],
        row_version=row.version,
    )


def owner_of_name(row: Row) -> int:
    """The id of the policy that has the name, if its row says so too."""
    return int(record.decode(row.body)["id"])


def document(row: Row, version: PolicyVersion) -> str:
    """A version's document; Damaged unless it is the one that was written."""
    text = str(record.decode(row.body)["document"])
    if digest(text) != version.digest:
        raise Damaged
    return text


def attachments(seal: RowSeal, target: str, row: Row) -> Attachments:
    """What is attached to a target, from its row; Damaged if its seal does not fit."""
    members = seal.members(row)
    return Attachments(target, dict(members["policies"]), members["boundary"], row.version)


def list_all(table: Table, seal: RowSeal) -> list[ManagedPolicy]:
    """Every custom policy of the account, oldest first."""
    found: list[ManagedPolicy] = []
    after = None
    while True:
        rows = table.query(partition(seal.account), prefix="P#", after=after, limit=MAX_LIMIT)
        found += [from_row(seal, row) for row in rows]
        if len(rows) < MAX_LIMIT:
            return sorted(found, key=lambda p: (p.created_at, p.id))
        after = rows[-1].sk


def list_targets(
    table: Table, account: str, policy_id: int, *, kind: str = "", after: str | None = None, limit: int
) -> list[tuple[str, int]]:
    """Targets that a policy is attached to, and since when, ordered by target; `kind` is user, group or role."""
    prefix = _listing_sk(policy_id, f"{kind}/" if kind else "")
    place = None if after is None else _listing_sk(policy_id, after)
    rows = table.query(partition(account), prefix=prefix, after=place, limit=limit)
    start = len(_listing_sk(policy_id, ""))
    return [(row.sk[start:], record.decode(row.body)["at"]) for row in rows]


def _row(seal: RowSeal, policy: ManagedPolicy) -> Row:
    versions = [{"id": v.id, "created": v.created_at, "digest": v.digest} for v in policy.versions]
    members = {
        "id": policy.id,
        "name": policy.name,
        "description": policy.description,
        "created": policy.created_at,
        "updated": policy.updated_at,
        "versions": versions,
        "default": policy.default_id,
        "last": policy.last_id,
        "tags": dict(policy.tags),
    }
    return seal.row(*policy_row_key(seal.account, policy.id), members)


def _name_row(account: str, policy: ManagedPolicy) -> Row:
    pk, sk = name_row_key(account, policy.name)
    return Row(pk=pk, sk=sk, body=record.encode({"id": policy.id}))


def _put_document(account: str, policy: ManagedPolicy, version: PolicyVersion, text: str) -> Op:
    pk, sk = document_row_key(account, policy.id, version.id)
    return Put(Row(pk=pk, sk=sk, body=record.encode({"document": text})), Expect.ABSENT)


def _put_attachments(seal: RowSeal, old: Attachments, new: Attachments) -> Op:
    return Put(_attachments_row(seal, new), old.row_version)


def _attachments_row(seal: RowSeal, attached: Attachments) -> Row:
    # Pairs: names of members in JSON are texts.
    members = {"policies": list(attached.policies.items()), "boundary": attached.boundary}
    return seal.row(*attachments_row_key(seal.account, attached.target), members)


def _listing_sk(policy_id: int, target: str) -> str:
    return f"PA#{policy_id}#{target}"


def _unlist(account: str, target: str, policy_ids: Iterable[int]) -> list[Op]:
    ops: list[Op] = []
    for policy_id in policy_ids:
        ops += [
            Delete(partition(account), _listing_sk(policy_id, target), Expect.ANY),
            Add(*count_row_keys(account, policy_id)[0], -1, at_least=0),
        ]
    return ops


def read(table: Table, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
    """The rows of any number of distinct keys, in their order."""
    return [
        row
        for start in range(0, len(keys), MAX_OPS)
        for row in table.batch_get(keys[start : start + MAX_OPS])
    ]
