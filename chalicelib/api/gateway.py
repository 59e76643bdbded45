"""The pipeline that every call goes through, whatever door it came in by.

parse -> find the action -> authenticate -> region -> throttle -> read parameters -> authorise and run -> audit ->
envelope. Every exception becomes a listed code with a fixed text; only its type and the request id are logged.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from chalicelib import ids, last_use, replication
from chalicelib.access_keys import Caller
from chalicelib.api import body, envelope, registry, signature
from chalicelib.api.credentials import ID_PREFIX, Credentials
from chalicelib.api.http import Reply, Request
from chalicelib.api.registry import Action
from chalicelib.api.replays import Replays
from chalicelib.api.signature import Claim
from chalicelib.api.throttle import Throttle
from chalicelib.audit import NOBODY, Event
from chalicelib.context import IDENTITY, Context, Service, domain
from chalicelib.errors import (
    ApiError,
    DryRunOperation,
    InternalError,
    InvalidAuthorization,
    MissingParameter,
    UnauthorizedByPolicy,
    UnsupportedRegion,
)
from chalicelib.hsm.port import HsmError, HsmUnavailable
from chalicelib.params import boolean, nest, read_json
from chalicelib.table.port import Busy, Conflict, TableError, Unacknowledged

_log: Final = logging.getLogger("keystead")
_TRIES: Final = 6
_PAUSE: Final = 0.01


class Gateway:
    """Turns a Request into a Reply. Safe to call from many threads."""

    def __init__(self, service: Service, observers: Sequence[Callable[[Event, float], None]] = ()) -> None:
        """`observers` are told of every call once it is answered, and how many seconds it took; they do not raise."""
        self._service = service
        self._observers = observers
        self._settings = service.settings
        self._replays = Replays() if service.settings.refuse_replays else None
        self._throttle = Throttle(service.settings.rates, enabled=service.settings.throttle)
        self._credentials = Credentials(
            service.table(IDENTITY),
            lambda: service.hsm(IDENTITY),
            service.seals,
            service.clock,
            cache_seconds=service.settings.credential_cache_seconds,
        )

    def __call__(self, request: Request) -> Reply:
        begin = time.perf_counter()
        event = self._event(request)
        reply = self._reply(request, event)
        # The words that the alarms of infra/template.json look for.
        if event.error_code == UnauthorizedByPolicy.code:
            _log.warning("keystead.denied %s:%s, request %s", event.service, event.action, event.id)
        if event.warning:
            _log.warning("keystead.warning %s, request %s", event.warning, event.id)
        for observe in self._observers:
            observe(event, time.perf_counter() - begin)
        return reply

    def _reply(self, request: Request, event: Event) -> Reply:
        trace_id = request.headers.get("x-tc-traceid", "")[:64]
        trace_id = trace_id if trace_id.isascii() and trace_id.isprintable() else ""
        try:
            members = self._run(request, event)
        except ApiError as error:
            return envelope.refusal(event.id, self._refused(event, error), trace_id)
        except Exception as error:  # noqa: BLE001 - the wire contract: every failure is a listed code
            return envelope.refusal(event.id, self._refused(event, self._listed(event, error)), trace_id)
        return envelope.answer(event.id, members, trace_id)

    def refuse(self, error: ApiError) -> Reply:
        """The answer to a request that a front door could not even read."""
        event = self._event(None)
        return envelope.refusal(event.id, self._refused(event, error))

    def _event(self, request: Request | None) -> Event:
        now_ms = self._service.clock.now_ms()
        event = Event(id=ids.request_id(now_ms), at_ms=now_ms)
        if request is not None:
            event.source_ip = request.source_ip
            if self._settings.trusted_proxies:
                event.source_ip = _behind(self._settings.trusted_proxies, request)
            event.user_agent = request.headers.get("user-agent", "")
            event.version, event.action, event.region, secret_id = signature.peek(request)
            # Whoever mixes up the two halves of an access key sends the SecretKey here.
            event.secret_id = secret_id if secret_id.startswith(ID_PREFIX) else ""
        return event

    def _run(self, request: Request, event: Event) -> dict[str, Any]:
        claim = signature.read_claim(request, self._settings)
        action = registry.find(claim.version, claim.action)
        event.service, event.action, event.is_read = action.service, action.name, action.is_read
        caller = self._authenticate(request, claim, action, event)
        region = self._region(action, claim)
        event.region = region
        # Who has not said who it is shares the rate with others of its address, not with all the world.
        self._throttle.admit(
            caller.account if caller.uin else f"ip/{event.source_ip}", f"{action.service}.{action.name}"
        )
        given, lexical = _parameters(request, claim)
        dry_run = _dry_run(given, lexical=lexical)
        arguments = action.parameters.read(given, lexical=lexical)
        event.parameters = action.parameters.recorded(given)
        return self._perform(action, caller, region, event, arguments, dry_run=dry_run)

    def _authenticate(self, request: Request, claim: Claim, action: Action, event: Event) -> Caller:
        event.authentication = claim.algorithm
        if claim.algorithm == signature.SKIP:
            if not action.is_unsigned:
                raise InvalidAuthorization("This action has to be signed.")
            signature.check_timestamp(claim, now=self._service.clock.now())
            return Caller(NOBODY, "", "", "", "")
        credential = self._credentials.find(claim.secret_id, claim.token)
        signature.verify(request, claim, credential, now=self._service.clock.now(), settings=self._settings)
        caller = credential.caller
        event.account, event.uin, event.secret_id = caller.account, caller.uin, caller.secret_id
        event.user_name, event.user_type, event.session = caller.name, caller.type, caller.session
        if self._replays is not None:
            self._replays.admit(claim, is_read=action.is_read)
        return caller

    def _region(self, action: Action, claim: Claim) -> str:
        if claim.region in self._settings.regions:
            return claim.region
        if claim.region:
            raise UnsupportedRegion
        if action.needs_region:
            raise MissingParameter(
                "Region is required: X-TC-Region, or the parameter Region with HmacSHA1 and HmacSHA256."
            )
        return next(iter(self._settings.regions))

    def _perform(
        self,
        action: Action,
        caller: Caller,
        region: str,
        event: Event,
        arguments: dict[str, Any],
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        """Run the handler; when somebody else's write got in between, let it read and decide again."""
        for attempt in range(_TRIES):
            event.resources.clear()
            ctx = Context(self._service, caller, region, event, dry_run=dry_run)
            ctx.note_caller()
            try:
                members = action.handler(ctx, **arguments)
            except Conflict:
                time.sleep(_PAUSE * 2**attempt * secrets.randbelow(1000) / 1000)
                continue
            if not ctx.authorised:
                raise RuntimeError("the action never authorised its caller")
            if dry_run:
                raise DryRunOperation
            if not ctx.committed:
                ctx.trail.keep(event, ctx.trailing)
                ctx.written()
            if ctx.left:
                replication.attempt(self._service, ctx.left)
            return members
        raise InternalError("The resource is being changed by many calls at once: try again.")

    def _refused(self, event: Event, error: ApiError) -> ApiError:
        """Record a refusal; an answer that cannot be recorded is not given."""
        event.error_code = error.code
        region = (
            event.region if event.region in self._settings.regions else next(iter(self._settings.regions))
        )
        try:
            place = domain(event.service, region)
            use, hour = last_use.unwritten(self._service.uses, place, event)
            self._service.trail(place).keep(event, use)
            self._service.remember(hour)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets a listed code
            return self._listed(event, failure)
        return error

    def _listed(self, event: Event, error: Exception) -> ApiError:
        """The listed code for what ports raise; anything unforeseen is InternalError."""
        _log.error("request %s failed: %s", event.id, type(error).__name__)
        match error:
            case Unacknowledged():
                return InternalError("The outcome is unknown: read the resource before you try again.")
            case Busy() | HsmUnavailable():
                return InternalError("The service is busy: nothing was done; try again.")
            case TableError() | HsmError():
                return InternalError(
                    "The service is misconfigured or its data is damaged: tell its operator."
                )
            case _:
                return InternalError()


def _parameters(request: Request, claim: Claim) -> tuple[dict[str, Any], bool]:
    """The action's parameters and whether every scalar came as text."""
    if claim.parameters is not None:
        return nest(claim.parameters), True
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return body.read_multipart(content_type, request.body), True
    return read_json(request.body), False


def _behind(proxies: Sequence[IPv4Network | IPv6Network], request: Request) -> str:
    """The address that the nearest proxy that is not ours, or the client itself, has.

    Each proxy appends the address that called it, so the list counts from its end, and only as far as ours wrote it.
    """
    address = request.source_ip
    hops = request.headers.get("x-forwarded-for", "").split(",")
    while hops and _is_inside(address, proxies):
        hop = hops.pop().strip()
        if not _is_address(hop):
            break
        address = hop
    return address


def _is_inside(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _dry_run(given: dict[str, Any], *, lexical: bool) -> bool:
    """Take the common parameter DryRun out of the action's own."""
    value = given.pop("DryRun", None)
    if value is None or (lexical and value == ""):
        return False
    return boolean(value, "DryRun", lexical)
