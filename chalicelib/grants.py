"""What a user, a group or a role may do: its policies and its boundary, read, checked and compiled."""

import functools
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from chalicelib.hsm.port import Damaged
from chalicelib.model.policy import Attachments, ManagedPolicy
from chalicelib.model.preset_policies import DOCUMENTS, PRESET_POLICIES
from chalicelib.policy.decide import Decision, decide_within
from chalicelib.policy.document import Policy, parse
from chalicelib.policy.request import Request
from chalicelib.sealed_row import RowSeal, RowSeals
from chalicelib.table import policies as rows
from chalicelib.table.port import MAX_LIMIT, Table

USER: Final = "user/"
GROUP: Final = "group/"
ROLE: Final = "role/"
"""How a principal starts: what follows is the uin or the id."""

_TRIES: Final = 3
_MAX_TRUST: Final = 1024


@dataclass(frozen=True, slots=True)
class Grants:
    """What applies to one principal. Not for the root account: it may do everything and is never evaluated."""

    policies: tuple[Policy, ...] = ()
    """Its own and those of its groups."""
    boundary: Policy | None = None
    """What the others allow counts only where this one allows it, too."""

    def decide(self, request: Request, session: Policy | None = None) -> Decision:
        """Whether the request is allowed; `session` is the session's own policy, which has to allow it as well."""
        return decide_within(self.policies, (self.boundary, session), request)


NOTHING: Final = Grants()


def load(table: Table, seals: RowSeals, account: str, principal: str) -> Grants:
    """The grants of `user/<uin>`, `group/<id>` or `role/<id>`: NOTHING for one that does not exist.

    Five batched reads at most for up to 100 policies; compiled policies are kept. Damaged if a row was changed outside
    the service, or something is attached that is not there: who may do what is then unknown, and nobody may.
    """
    seal = seals.of(account)
    for _ in range(_TRIES):
        found = _attachments(table, seal, principal)
        if found is None:
            continue
        attached = {policy_id for each in found for policy_id in each.policies}
        boundary = found[0].boundary if found else 0
        policies = _compiled(table, seal, attached | {boundary} - {0})
        if policies is not None:
            return Grants(tuple(policies[p] for p in sorted(attached)), policies.get(boundary))
        # A policy was deleted, or given another version, between two reads: what is attached has changed, too.
    raise Damaged


@functools.lru_cache(_MAX_TRUST)
def compile_trust(document: str) -> Policy:
    """A role's trust policy; PolicyError if it is none."""
    return parse(document, name="trust policy", trust=True)


def _attachments(table: Table, seal: RowSeal, principal: str) -> list[Attachments] | None:
    """What is attached to the principal, first, and to its groups; none to one that does not exist.

    None if a row is missing, by what the others say: there was a change in between, or somebody took it away.
    """
    account = seal.account
    kind, _, name = principal.partition("/")
    place = (rows.partition(account), {"user": "U#", "group": "G#", "role": "R#"}[kind] + name)
    exists, own = table.batch_get([place, rows.attachments_row_key(account, principal)])
    if exists is None:
        return []
    members = seal.members(exists)
    targets = [principal]
    if kind == "user":
        prefix = f"UG#{name}#"
        memberships = table.query(rows.partition(account), prefix=prefix, limit=MAX_LIMIT)
        groups = [row.sk.removeprefix(prefix) for row in memberships]
        if set(groups) != set(map(str, members["groups"])):
            return None
        for row in memberships:
            seal.members(row)
        targets += [GROUP + group_id for group_id in groups]
    of_groups = rows.read(table, [rows.attachments_row_key(account, target) for target in targets[1:]])
    found = [
        rows.attachments(seal, target, row)
        for target, row in zip(targets, [own, *of_groups], strict=True)
        if row is not None
    ]
    return found if len(found) == len(targets) else None


def _compiled(table: Table, seal: RowSeal, wanted: set[int]) -> dict[int, Policy] | None:
    """The policies by id, each in its default version; None if a row is not there."""
    found = {p: _COMPILED.get(PRESET_POLICIES[p], DOCUMENTS[p]) for p in wanted & PRESET_POLICIES.keys()}
    custom = sorted(wanted - found.keys())
    missing = []
    for row in rows.read(table, [rows.policy_row_key(seal.account, policy_id) for policy_id in custom]):
        if row is None:
            return None
        policy = rows.from_row(seal, row)
        compiled = _COMPILED.find(policy)
        if compiled is None:
            missing.append(policy)
        else:
            found[policy.id] = compiled
    documents = rows.read(table, [rows.document_row_key(seal.account, p.id, p.default_id) for p in missing])
    for policy, row in zip(missing, documents, strict=True):
        if row is None:
            return None
        found[policy.id] = _COMPILED.get(policy, rows.document(row, policy.default))
    return found


class _Compiled:
    """Policies that were parsed, by the digest of the document: a changed one is another entry."""

    def __init__(self, at_most: int = 1024) -> None:
        self._at_most = at_most
        self._policies: OrderedDict[tuple[str, int, str], Policy] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, policy: ManagedPolicy) -> Policy | None:
        key = (policy.default.digest, policy.id, policy.name)
        with self._lock:
            found = self._policies.get(key)
            if found is not None:
                self._policies.move_to_end(key)
            return found

    def get(self, policy: ManagedPolicy, document: str) -> Policy:
        found = self.find(policy)
        if found is None:
            found = parse(document, name=policy.name, policy_id=policy.id)
            with self._lock:
                self._policies[policy.default.digest, policy.id, policy.name] = found
                if len(self._policies) > self._at_most:
                    self._policies.popitem(last=False)
        return found


_COMPILED: Final = _Compiled()
