"""What an action may use: one Context per call, over one Service per process."""

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from chalicelib import audit, ids, last_use
from chalicelib.access_keys import Caller
from chalicelib.audit import Event, Trail
from chalicelib.clock import Clock
from chalicelib.data_key_store import DataKeyStore
from chalicelib.errors import ApiError, DryRunOperation, InvalidParameter, UnauthorizedByPolicy
from chalicelib.formats.canonical import MalformedContext, encryption_context_members
from chalicelib.hsm.port import Hsm
from chalicelib.key_store import KeyStore
from chalicelib.policy.condition import (
    CURRENT_TIME,
    ENCRYPTION_CONTEXT,
    IP,
    MFA,
    REQUEST_TAG,
    RESOURCE_TAG,
)
from chalicelib.policy.decide import NOTHING_MATCHED, Decision
from chalicelib.policy.request import Request, pairs
from chalicelib.policy_store import PolicyStore
from chalicelib.role_store import RoleStore
from chalicelib.sealed_row import RowSeal, RowSeals
from chalicelib.secret_store import Listings, SecretStore
from chalicelib.settings import Settings
from chalicelib.table.port import Add, Conflict, Expect, Op, Put, Row, Table, add_bounds, due_kind, key_of
from chalicelib.table.replicas import REPLICATE
from chalicelib.user_store import UserStore

if TYPE_CHECKING:
    from chalicelib.web_identity import WebIdentities

IDENTITY: Final = "identity"
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
EVERYTHING: Final = {"kms": "key/*", "ssm": "secret/*"}
"""What a policy has to allow, word for word or with all the rest, for actions on no resource in particular."""
VISITOR: Final = "OtherAccount"
"""Who acts in the events of calls that come from another account; its uin is the name."""
_ROOT_MAY: Final = Decision(allowed=True)
_OF_NO_REGION: Final = frozenset({"cam", "cloudaudit", "sts"})
_MAX_USES: Final = 100_000
_SETTLING_SECONDS: Final = 10
"""DynamoDB shows the rows of a transaction one after the other, most often within milliseconds."""


class Listed(Protocol):
    """What lists show one by one."""

    @property
    def creator_uin(self) -> str: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


Item = TypeVar("Item", bound=Listed)


class Service:
    """The process's tables and HSM domains, opened on first use, and the little that calls share."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        open_table: Callable[[str], Table],
        open_hsm: Callable[[str], Hsm],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._open_table = open_table
        self._open_hsm = open_hsm
        self._tables: dict[str, Table] = {}
        self._hsms: dict[str, Hsm] = {}
        self._trails: dict[str, Trail] = {}
        self._lock = threading.RLock()
        self.seals = RowSeals(lambda: self.table(IDENTITY), lambda: self.hsm(IDENTITY))
        """What tells the rows that decide about access from those that somebody else wrote."""
        self.listings = Listings(_SETTLING_SECONDS if settings.table == "dynamodb" else 0)
        """The lists of secrets that were read last."""
        self.hints: dict[tuple[str, ...], tuple[str, ...]] = {}
        """Which rows the last call on a resource needed: saves a second read, decides nothing."""
        self.uses: dict[tuple[str, str, str], int] = {}
        """In which hour the use of a key was last written down: saves writes, decides nothing."""

    def table(self, domain: str) -> Table:
        """The rows of a region, or the identity rows."""
        table = self._tables.get(domain)
        if table is None:
            with self._lock:
                table = self._tables.get(domain) or self._open_table(domain)
                self._tables[domain] = table
        return table

    def hsm(self, domain: str) -> Hsm:
        """The keys of a region, or those that seal identity data."""
        hsm = self._hsms.get(domain)
        if hsm is None:
            with self._lock:
                hsm = self._hsms.get(domain) or self._open_hsm(domain)
                self._hsms[domain] = hsm
        return hsm

    @functools.cached_property
    def web_identities(self) -> "WebIdentities":
        """The OpenID Connect providers that the operator has configured, and their keys."""
        from chalicelib.web_identity import WebIdentities  # noqa: PLC0415 - loads an HTTP client for one action

        return WebIdentities(self.settings.oidc_providers, self.clock)

    def trail(self, domain: str) -> Trail:
        """The audit events of a region, or those of identity."""
        trail = self._trails.get(domain)
        if trail is None:
            table = self.table(domain)
            with self._lock:
                shards = audit.SHARDS if self.settings.table == "dynamodb" else 1
                trail = self._trails.get(domain) or Trail(
                    table, domain, self.clock, self.settings.audit_days, shards=shards
                )
                self._trails[domain] = trail
        return trail

    def remember(self, uses: Mapping[tuple[str, str, str], int]) -> None:
        """Note in which hours the uses of keys were written down."""
        if len(self.uses) > _MAX_USES:
            self.uses.clear()
        self.uses.update(uses)

    def close(self) -> None:
        """Release every table and HSM domain."""
        with self._lock:
            for table in self._tables.values():
                table.close()
            for hsm in self._hsms.values():
                hsm.close()
            self._trails.clear()
            self._tables.clear()
            self._hsms.clear()


class Context:
    """One call of one action."""

    def __init__(
        self, service: Service, caller: Caller, region: str, event: Event, *, dry_run: bool = False
    ) -> None:
        self.service = service
        self.caller = caller
        self.region = region
        self.event = event
        self.settings = service.settings
        self.now_ms = event.at_ms
        self.now = event.at_ms // 1000
        self.table = service.table(domain(event.service, region))
        self.trail = service.trail(domain(event.service, region))
        self.trailing: list[Op] = []
        """Unconditional ops that go along with whatever the call writes."""
        self.uses: dict[tuple[str, str, str], int] = {}
        """What to remember of `trailing` once it is written."""
        self.request_tags: Mapping[str, str] = NOTHING
        """The tags that the call gives to something: an action sets them before it authorises."""
        self.left: list[Row] = []
        """What the call's write has left to do in other regions, due at once."""
        self.committed = False
        self.authorised = False
        self._dry_run = dry_run

    def beside(self, region: str) -> "Context":
        """The same call, reading in another region."""
        return Context(self.service, self.caller, region, self.event, dry_run=self._dry_run)

    def go_to(self, region: str) -> None:
        """Act in another region than the call's: the tag service finds resources where they are.

        Before anything is read: the call's event is written there too.
        """
        self.region = self.event.region = region
        self.table = self.service.table(region)
        self.trail = self.service.trail(region)

    @property
    def standard(self) -> str:
        """`sm` or `fips`: the region's standard."""
        return self.settings.regions[self.region]

    @property
    def hsm(self) -> Hsm:
        """The region's HSM domain."""
        return self.service.hsm(self.region)

    @functools.cached_property
    def keys(self) -> KeyStore:
        """The account's CMKs in the region."""
        return KeyStore(self)

    @functools.cached_property
    def data_keys(self) -> DataKeyStore:
        """The account's hosted data keys in the region."""
        return DataKeyStore(self)

    @functools.cached_property
    def secrets(self) -> SecretStore:
        """The account's secrets in the region."""
        return SecretStore(self)

    @functools.cached_property
    def policies(self) -> PolicyStore:
        """The account's policies."""
        return PolicyStore(self)

    @functools.cached_property
    def roles(self) -> RoleStore:
        """The account's roles."""
        return RoleStore(self)

    @functools.cached_property
    def users(self) -> UserStore:
        """The account's users and groups."""
        return UserStore(self)

    @property
    def seal(self) -> RowSeal:
        """The seal of the account's rows in the identity table."""
        return self.service.seals.of(self.caller.account)

    def note_caller(self) -> None:
        """Write down, along with whatever the call writes, that its access key was used."""
        ops, uses = last_use.unwritten(self.service.uses, domain(self.event.service, self.region), self.event)
        self.trailing += ops
        self.uses |= uses

    def resource(self, path: str) -> str:
        """The six-segment name of a resource of the called service, as policies spell it."""
        region = "" if self.event.service in _OF_NO_REGION else self.region
        return f"qcs::{self.event.service}:{region}:uin/{self.caller.account}:{path}"

    def authorise(
        self,
        resource: str = "",
        *,
        creator_uin: str = "",
        tags: Mapping[str, str] = NOTHING,
        encryption_context: str = "",
    ) -> None:
        """Let the call go on only if the caller may do it to the resource; the pipeline insists on one such check.

        Without a resource: to all of the service, as actions on no resource in particular ask for. The keywords are what
        conditions look at; an encryption context is the JSON text that the caller sent.
        """
        if not self.caller.is_root:
            self._insist(
                self.decide(
                    resource or self.resource(EVERYTHING.get(self.event.service, "*")),
                    creator_uin=creator_uin,
                    tags=tags,
                    encryption_context=encryption_context,
                )
            )
        self.authorised = True

    def authorise_one_of(self, *resources: str, tags: Mapping[str, str] = NOTHING) -> None:
        """As `authorise`, for what policies know by several names: one has to be allowed, and none denied."""
        if not self.caller.is_root:
            decisions = [self.decide(resource, tags=tags) for resource in resources]
            self._insist(min(decisions, key=lambda d: (not d.is_denial, not d.allowed)))
        self.authorised = True

    def refuse_denied(self, resource: str) -> None:
        """Refuse a caller to whom a policy denies the resource: one that the call is about beside what it authorises."""
        decision = self.decide(resource)
        if decision.is_denial:
            self._insist(decision)

    def authorise_anyway(self) -> None:
        """Let the call go on without a look at the caller's policies: the action has a reason of its own."""
        self.authorised = True

    def visible(self, whole: str, items: Iterable[Item], name: Callable[[Item], str]) -> list[Item]:
        """Those of a list that the caller may see; refuses a caller whom no policy lets see any.

        `whole` names all of the list in policies (`key/*`). A policy that allows it shows every item that no other
        denies, one that allows some items only shows those.
        """
        if self.caller.is_root:
            self.authorised = True
            return list(items)
        asked, authority = self._request(self.resource(whole)), self.caller.authority
        decision = authority.decide(asked) if authority else NOTHING_MATCHED
        if decision.is_denial or authority is None or not authority.allows_some(asked):
            self._insist(decision)
        self.authorised = True
        return [
            item
            for item in items
            if self.decide(name(item), creator_uin=item.creator_uin, tags=item.tags).allowed
        ]

    def decide(
        self,
        resource: str,
        *,
        action: str = "",
        creator_uin: str = "",
        tags: Mapping[str, str] = NOTHING,
        encryption_context: str = "",
    ) -> Decision:
        """What the caller's policies say about an action, the called one unless said otherwise, on a resource."""
        caller = self.caller
        if caller.is_root:
            return _ROOT_MAY
        if caller.authority is None:
            return NOTHING_MATCHED
        return caller.authority.decide(
            self._request(
                resource,
                action=action,
                creator_uin=creator_uin,
                tags=tags,
                encryption_context=encryption_context,
            )
        )

    def _request(
        self,
        resource: str,
        *,
        action: str = "",
        creator_uin: str = "",
        tags: Mapping[str, str] = NOTHING,
        encryption_context: str = "",
    ) -> Request:
        attributes = dict(self.circumstances)
        if creator_uin:
            attributes["qcs:create_uin"] = (creator_uin,)
        if tags:
            attributes[RESOURCE_TAG] = attributes["qcs:tag"] = pairs(tags)
        if encryption_context:
            attributes[ENCRYPTION_CONTEXT] = pairs(_context_members(encryption_context))
        return Request(
            action=action or self._action,
            resource=resource,
            uin=self.caller.uin,
            owner_uin=self.caller.account,
            app_id=self.caller.app_id,
            attributes=attributes,
        )

    @functools.cached_property
    def circumstances(self) -> dict[str, tuple[str, ...]]:
        """What conditions look at and what is the same for every resource of the call."""
        found: dict[str, tuple[str, ...]] = {
            CURRENT_TIME: (f"{datetime.fromtimestamp(self.now, UTC):%Y-%m-%dT%H:%M:%SZ}",),
            # There are no second factors: whoever denies what is done without one denies it to everybody.
            MFA: ("false",),
        }
        if self.caller.uin:
            found["qcs:uin"], found["qcs:owner_uin"] = (self.caller.uin,), (self.caller.account,)
        if self.event.source_ip:
            found[IP] = (self.event.source_ip,)
        if self.request_tags:
            found[REQUEST_TAG] = pairs(self.request_tags)
        return found

    @property
    def _action(self) -> str:
        return f"{self.event.service}:{self.event.action}"

    def _insist(self, decision: Decision) -> None:
        if not decision.allowed:
            # Not the resource: it names its creator, which would tell that it exists.
            raise UnauthorizedByPolicy(
                f"You are not authorized to perform operation ({self._action}) on this resource:"
                f" {decision.explanation}."
            )

    def commit(
        self, ops: Sequence[Op], refusals: Mapping[int, type[ApiError] | ApiError] | None = None
    ) -> None:
        """Write the call's effect and its audit event in one atomic step; at most once per call, as its last step.

        `refusals` says what the caller is told when the op of that position finds its condition broken. Any other
        broken condition means that somebody else was faster: the pipeline reads and decides again.
        """
        if not self.authorised or self.committed:
            raise RuntimeError("an action authorises first and commits once")
        try:
            if self._dry_run:
                _rehearse(self.table, ops)
            else:
                self.trail.commit(ops, self.event, self.trailing)
        except Conflict as conflict:
            for position in conflict.positions:
                if refusals and position in refusals:
                    raise refusals[position] from None
            raise
        if self._dry_run:
            raise DryRunOperation
        self.written()
        copies = due_kind(REPLICATE, self.region)
        self.left = [op.row for op in ops if isinstance(op, Put) and op.row.due and op.row.due.kind == copies]

    def step(self, ops: Sequence[Op]) -> None:
        """Write a part of the call's effect that is whole in itself, ahead of `commit`, with an event of its own."""
        if not self.authorised or self.committed:
            raise RuntimeError("an action authorises first, and its last step is to commit")
        if self._dry_run:
            raise DryRunOperation
        resources = list(self.event.resources)
        self.trail.commit(ops, replace(self.event, id=ids.request_id(self.now_ms), resources=resources))

    def tell(self, account: str) -> None:
        """Write the call into the trail of another account that it concerns, too, as that of a visitor."""
        if self._dry_run:
            return
        visit = replace(
            self.event,
            id=ids.request_id(self.now_ms),
            account=account,
            user_type=VISITOR,
            user_name=self.caller.account,
            session="",
            secret_id="",
            resources=list(self.event.resources),
        )
        self.trail.keep(visit)

    def written(self) -> None:
        """Note that the call's write, and what trails it, has happened."""
        self.committed = True
        self.service.remember(self.uses)


def _context_members(text: str) -> Mapping[str, str]:
    try:
        return encryption_context_members(text)
    except MalformedContext:
        raise InvalidParameter(
            "EncryptionContext is a JSON object of strings, without duplicate names."
        ) from None


def domain(service: str, region: str) -> str:
    """Whose rows a service's calls in a region read and write, their events included: the region's or identity's."""
    return IDENTITY if service in _OF_NO_REGION else region


def _rehearse(table: Table, ops: Sequence[Op]) -> None:
    """Raise the Conflict that writing `ops` would raise now."""
    rows = table.batch_get([key_of(op) for op in ops]) if ops else []
    failed = [at for at, (op, row) in enumerate(zip(ops, rows, strict=True)) if not _holds(op, row)]
    if failed:
        raise Conflict(failed)


def _holds(op: Op, row: Row | None) -> bool:
    if isinstance(op, Add):
        low, high = add_bounds(op)
        return low <= (row.number if row else 0) + op.n <= high
    match op.expect:
        case Expect.ANY:
            return True
        case Expect.ABSENT:
            return row is None
        case Expect.EXISTS:
            return row is not None
        case version:
            return row is not None and row.version == version
