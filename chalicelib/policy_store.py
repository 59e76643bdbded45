"""The account's policies: read, checked, attached and detached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.errors import ParamError, PolicyIdError, PolicyIdNotFound
from chalicelib.hsm.port import Damaged
from chalicelib.model.policy import CUSTOM, Attachments, ManagedPolicy, PolicyVersion
from chalicelib.model.preset_policies import DOCUMENTS, IDS_BY_NAME, PRESET_POLICIES
from chalicelib.table import policies as rows
from chalicelib.table.port import MAX_LIMIT, Check, Conflict, Expect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chalicelib.context import Context
    from chalicelib.errors import ApiError
    from chalicelib.table.port import Op, Row


class PolicyStore:
    """The policies of one account, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._account = ctx.caller.account

    def get(self, policy_id: int, missing: type[ApiError] = PolicyIdNotFound) -> ManagedPolicy:
        """The policy, once the caller is authorised for it and the event names it; raises `missing`."""
        self._ctx.event.note("policy", str(policy_id))
        policy = self.find(policy_id)
        tags = policy.tags if policy is not None else {}
        self._ctx.authorise(self._ctx.resource(f"policyid/{policy_id}"), tags=tags)
        if policy is None:
            raise missing
        return policy

    def get_custom(
        self, policy_id: int, name: str = "", missing: type[ApiError] = PolicyIdNotFound
    ) -> ManagedPolicy:
        """As `get_named`, for what changes a policy: raises PolicyIdError for a preset one."""
        policy = self.get_named(policy_id, name, missing)
        if policy.type != CUSTOM:
            raise PolicyIdError
        return policy

    def get_named(self, policy_id: int, name: str, missing: type[ApiError]) -> ManagedPolicy:
        """As `get`, for a policy that is given by its id or, without one, by its name."""
        if not policy_id and not name:
            raise ParamError("PolicyId or PolicyName is required.")
        found = policy_id or self.id_of(name)
        if found is None:
            # Who may not touch policies does not learn which names there are.
            self._ctx.authorise(self._ctx.resource(f"policyName/{name}"))
            raise missing
        return self.get(found, missing)

    def find(self, policy_id: int) -> ManagedPolicy | None:
        """The policy, without a look at what the caller may do."""
        if policy_id in PRESET_POLICIES:
            return PRESET_POLICIES[policy_id]
        row = self._ctx.table.get(*rows.policy_row_key(self._account, policy_id))
        return rows.from_row(self._ctx.seal, row) if row is not None else None

    def find_all(self, policy_ids: Iterable[int]) -> dict[int, ManagedPolicy]:
        """Those of the policies that exist, by id."""
        wanted = list(policy_ids)
        found = {p: PRESET_POLICIES[p] for p in wanted if p in PRESET_POLICIES}
        custom = [p for p in wanted if p not in PRESET_POLICIES]
        for row in rows.read(self._ctx.table, [rows.policy_row_key(self._account, p) for p in custom]):
            if row is not None:
                policy = rows.from_row(self._ctx.seal, row)
                found[policy.id] = policy
        return found

    def id_of(self, name: str) -> int | None:
        """The id of the policy of that name."""
        preset = IDS_BY_NAME.get(name.lower())
        if preset is not None:
            return preset
        row = self._ctx.table.get(*rows.name_row_key(self._account, name))
        policy = self.find(rows.owner_of_name(row)) if row is not None else None
        # The row of the name is not sealed: whoever writes to the table could make it name another policy.
        return policy.id if policy is not None and policy.name.lower() == name.lower() else None

    def list_all(self) -> list[ManagedPolicy]:
        """Every custom policy, oldest first."""
        return rows.list_all(self._ctx.table, self._ctx.seal)

    def document(self, policy: ManagedPolicy, version: PolicyVersion) -> str:
        """A version's document."""
        if policy.type != CUSTOM:
            return DOCUMENTS[policy.id]
        row = self._ctx.table.get(*rows.document_row_key(self._account, policy.id, version.id))
        if row is None:
            raise Damaged
        return rows.document(row, version)

    def counts(self, policies: Sequence[ManagedPolicy]) -> list[Row | None]:
        """Two rows for each policy, if they are there: how often it is attached, and how often it bounds."""
        return rows.read(
            self._ctx.table, [key for p in policies for key in rows.count_row_keys(self._account, p.id)]
        )

    def attachments(self, target: str) -> Attachments:
        """What is attached to a target that was there a moment ago; Conflict if it has gone."""
        row = self._ctx.table.get(*rows.attachments_row_key(self._account, target))
        if row is None:
            raise Conflict(())
        return rows.attachments(self._ctx.seal, target, row)

    def attach(self, policy: ManagedPolicy, target: str, gone: type[ApiError]) -> None:
        """Commit that the policy is attached to the target; `gone` if it is being deleted at the same time."""
        found = self.attachments(target)
        if policy.id in found.policies:
            return
        ops = rows.attach(self._ctx.seal, found, policy.id, self._ctx.now)
        self._ctx.commit([*ops, *self._check(policy)], {len(ops): gone})

    def detach(self, policy: ManagedPolicy, target: str) -> None:
        """Commit that the policy is not attached to the target."""
        found = self.attachments(target)
        if policy.id in found.policies:
            self._ctx.commit(rows.detach(self._ctx.seal, found, [policy.id]))

    def bound(self, policy: ManagedPolicy, target: str, gone: type[ApiError]) -> None:
        """Commit that the policy is the target's boundary; `gone` as in `attach`."""
        found = self.attachments(target)
        if policy.id == found.boundary:
            return
        ops = rows.bound(self._ctx.seal, found, policy.id)
        self._ctx.commit([*ops, *self._check(policy)], {len(ops): gone})

    def unbound(self, target: str) -> None:
        """Commit that the target has no boundary."""
        found = self.attachments(target)
        if found.boundary:
            self._ctx.commit(rows.bound(self._ctx.seal, found, 0))

    def shrink(self, target: str) -> Attachments:
        """Detach policies from a target that is about to be deleted until one write can take the rest: what is left.

        Each step is a whole one: a process that dies in between leaves fewer attachments, and the target.
        """
        found = self.attachments(target)
        while len(found.policies) > rows.DETACH_AT_ONCE:
            gone = list(found.policies)[-rows.DETACH_AT_ONCE :]
            self._ctx.step(rows.detach(self._ctx.seal, found, gone))
            found = self.attachments(target)
        return found

    def detach_all(self, policy: ManagedPolicy) -> None:
        """Detach a policy that is about to be deleted from everything, in steps that are whole ones."""
        while found := self._attached_to(policy.id):
            self._ctx.step(rows.detach_from(self._ctx.seal, policy.id, found))

    def targets(self, policy: ManagedPolicy, kind: str = "") -> list[tuple[str, int]]:
        """Everything that a policy is attached to, and since when; `kind` is user, group or role, or empty for all."""
        found: list[tuple[str, int]] = []
        while True:
            after = found[-1][0] if found else None
            more = rows.list_targets(
                self._ctx.table, self._account, policy.id, kind=kind, after=after, limit=MAX_LIMIT
            )
            found += more
            if len(more) < MAX_LIMIT:
                return found

    def _check(self, policy: ManagedPolicy) -> list[Op]:
        """The op, if one is needed, by which a write happens only while the policy exists."""
        if policy.type != CUSTOM:
            return []
        return [Check(*rows.policy_row_key(self._account, policy.id), Expect.EXISTS)]

    def _attached_to(self, policy_id: int) -> list[Attachments]:
        """Some of the targets that a policy is attached to."""
        table, seal = self._ctx.table, self._ctx.seal
        listed = rows.list_targets(table, self._account, policy_id, limit=rows.DETACH_AT_ONCE)
        targets = [target for target, _ in listed]
        found = rows.read(
            self._ctx.table, [rows.attachments_row_key(self._account, target) for target in targets]
        )
        pairs = zip(targets, found, strict=True)
        attached = [rows.attachments(seal, target, row) for target, row in pairs if row is not None]
        # What the listing says is not sealed.
        return [each for each in attached if policy_id in each.policies]
