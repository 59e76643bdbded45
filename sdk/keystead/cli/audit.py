"""`keystead audit`: watch the trail through CloudAudit, and verify an export of it offline."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from keystead.cli import output
from keystead.cli.exits import Exit, Failure
from keystead.cli.session import Session, session

if TYPE_CHECKING:
    from keystead.trail import Report

app = typer.Typer(help="The audit trail: watch it, verify it.", no_args_is_help=True)

_PAGE: Final = 50
_SPAN: Final = 30 * 86400
"""Seconds that one request may look at (DescribeEvents)."""
_AHEAD: Final = 300
"""How far the service's clock may be in front of this one: what is further off cannot sign anyway."""
_OVERLAP: Final = 30
"""Seconds that are read again while following: events of one moment do not all arrive at once."""
_LONGEST_PAUSE: Final = 60.0
_RECENT: Final = 20
_LONGEST_LINE: Final = 1 << 20
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COLUMNS: Final = ("Time", "User", "Event", "Resource", "Region", "Address", "Outcome")


@app.command()
def tail(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events.")] = False,
    since: Annotated[str, typer.Option(help="30s, 15m, 2h, 7d or a time such as 2027-01-31T12:00:00Z.")] = "",
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="The newest ones. Default: 20; with --since all."),
    ] = None,
    user: Annotated[str, typer.Option(help="Name, or uin (which the service has an index for).")] = "",
    event: Annotated[list[str] | None, typer.Option(help="Such as Decrypt; may be repeated.")] = None,
    resource: Annotated[str, typer.Option(help="Name or id of a key, secret, user...")] = "",
    access_key: Annotated[str, typer.Option(help="The SecretId that was used.")] = "",
    request_id: Annotated[str, typer.Option(help="One call.")] = "",
    address: Annotated[str, typer.Option(help="The source IP address.")] = "",
    error: Annotated[str, typer.Option(help="An error code.")] = "",
    writes: Annotated[bool, typer.Option("--writes", help="Changes only.")] = False,
    sensitive: Annotated[
        bool,
        typer.Option("--sensitive", help="What hands out plaintext or permissions, or ends a key's use."),
    ] = False,
    every: Annotated[
        int, typer.Option(min=1, max=3600, help="Seconds between two looks while following.")
    ] = 2,
) -> None:
    """Show the account's newest events, oldest first.

    The calls that this command makes to look are left out. With --follow, JSON comes as one event a line.
    """
    own = session(context)
    named = [("EventName", each) for each in event or ()]
    if user.isdigit():
        named.append(("PrincipalId", user))
    for key, value in (
        ("ResourceName", resource),
        ("AccessKeyId", access_key),
        ("RequestId", request_id),
        ("SourceIPAddress", address),
        (_error_key(error), error),
        ("ActionType", "Write" if writes else ""),
        ("SensitiveAction", "1" if sensitive else ""),
    ):
        if value:
            named.append((key, value))
    trail = _Trail(own, named, "" if user.isdigit() else user)
    now = _now()
    start = _moment(since, now) if since else now - 7 * 86400
    most = limit or (None if since else _RECENT)
    if not follow:
        found = trail.before(now + _AHEAD, start, most)
        own.show_all((_shown(each, own.form) for each in found), _COLUMNS)
        return
    for each in trail.follow(now, start, most, every):
        _line(own, each)


@app.command()
def verify(
    context: typer.Context,
    export: Annotated[Path, typer.Argument(help="What `python -m chalicelib.audit export` wrote.")],
    key: Annotated[
        Path, typer.Option("--key", help="The domain's public key (PEM), kept apart from the service.")
    ],
    anchor: Annotated[
        Path | None, typer.Option(help="Digests that were kept elsewhere: the end must not be missing.")
    ] = None,
    since: Annotated[str, typer.Option(help="The export must go back to this time.")] = "",
    until: Annotated[str, typer.Option(help="The export must reach this time.")] = "",
    unsealed_ok: Annotated[
        bool, typer.Option("--unsealed-ok", help="Accept events after the last digest.")
    ] = False,
) -> None:
    """Check an export with nothing but the public key: no service, no settings, no network."""
    from keystead import trail

    own = session(context)
    now = _now()
    try:
        public_key = trail.PublicKey(key.read_bytes())
    except trail.UnusableKey:
        raise Failure("--key is a file with one PEM block: a P-256 or SM2 public key.", Exit.USAGE) from None
    # An anchor without lines is refused, and not the same as none.
    kept = anchor.read_bytes().splitlines(keepends=True) or [b""] if anchor else []
    try:
        with export.open("rb") as file:
            report = trail.verify(
                _lines(file),
                public_key,
                anchor=kept,
                since=_moment(since, now) if since else None,
                until=_moment(until, now) if until else None,
                unsealed_ok=unsealed_ok,
                progress=_progress if sys.stderr.isatty() else None,
            )
    except ValueError:
        raise Failure("--anchor is a file with digests: there is none in it.", Exit.USAGE) from None
    if anchor is None and not until:
        report.notes.append(
            "Without --anchor or --until, an end that was cut off behind a digest is not noticed."
        )
    _tell(own, report)
    if not report.is_verified:
        raise Failure(f"The export does NOT verify: {report.found} findings.", Exit.DAMAGED)


class _Trail:
    """The account's events that fit, as DescribeEvents finds them."""

    def __init__(self, own: Session, named: Sequence[tuple[str, str]], user: str) -> None:
        self._session = own
        self._attributes = [{"AttributeKey": key, "AttributeValue": value} for key, value in named]
        self._user = user
        self._looks: set[str] = set()
        """Requests of this very command: following would only ever see itself."""

    def before(self, end: int, start: int, most: int | None) -> list[dict[str, Any]]:
        """The newest of [start, end], oldest first."""
        found: list[dict[str, Any]] = []
        while end >= start and (most is None or len(found) < most):
            begin = max(start, end - _SPAN)
            for each in self._newest_first(begin, end):
                found.append(each)
                if most is not None and len(found) == most:
                    break
            end = begin - 1
        return found[::-1]

    def follow(self, now: int, start: int, most: int | None, every: int) -> Iterator[dict[str, Any]]:
        """The newest, and then what is new, until the user stops it."""
        from keystead.api import ApiError, Unreachable, jitter

        # What is there already, but is not shown because of `most`, must not come as new.
        floor = now - _AHEAD - _OVERLAP
        seen = {each["EventId"] for each in self._newest_first(floor, now + _AHEAD)}
        found = self.before(now + _AHEAD, start, most)
        pause: float = every
        newest = floor
        while True:
            # By the service's clock, which the events have: this machine's may be another.
            newest = max([newest, *(int(each["EventTime"]) for each in found)])
            yield from found
            seen.update(each["EventId"] for each in found)
            time.sleep(pause / 2 + jitter(pause))
            try:
                now = _now()
                since = max(floor, newest - _OVERLAP, now - _SPAN)
                there = [*self._newest_first(since, now + _AHEAD)]
            except (ApiError, Unreachable) as failure:
                if isinstance(failure, ApiError) and not failure.is_passing:
                    raise
                pause = max(every, min(_LONGEST_PAUSE, pause * 2))
                output.say(f"keystead: {failure} Looking again.")
                found = []
                continue
            pause = every
            found = [each for each in reversed(there) if each["EventId"] not in seen]
            seen = {each["EventId"] for each in there}

    def _newest_first(self, start: int, end: int) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            answer = self._session.call(
                "cloudaudit",
                "DescribeEvents",
                StartTime=start,
                EndTime=end,
                MaxResults=_PAGE,
                NextToken=token,
                LookupAttributes=self._attributes or None,
            )
            self._looks.add(answer["RequestId"])
            for each in answer.get("Events") or ():
                is_look = each.get("RequestID") in self._looks
                if not is_look and self._user in ("", each.get("Username")):
                    yield each
            token = answer.get("NextToken")
            if answer.get("ListOver", True) or not token:
                return


def _error_key(code: str) -> str:
    is_authorisation = code.partition(".")[0] in ("AuthFailure", "UnauthorizedOperation")
    return "CamErrorCode" if is_authorisation else "ApiErrorCode"


def _shown(event: dict[str, Any], form: output.Format) -> dict[str, Any]:
    details = _details(event)
    if form is output.Format.JSON:
        return {**event, "CloudAuditEvent": details}
    codes = [details.get("errorCode"), details.get("apiErrorCode")]
    names = details.get("resources") or [event.get("Resources", {}).get("ResourceName")]
    return {
        "Time": output.utc(int(event.get("EventTime") or 0)),
        "User": event.get("Username"),
        "Event": event.get("EventName"),
        "Resource": " ".join(each for each in names if isinstance(each, str)),
        "Region": event.get("EventRegion"),
        "Address": event.get("SourceIPAddress"),
        "Outcome": next((code for code in codes if code not in (None, "", "0")), "ok"),
    }


def _details(event: dict[str, Any]) -> dict[str, Any]:
    try:
        details = json.loads(event.get("CloudAuditEvent") or "{}")
    except ValueError:
        details = {}
    return details if isinstance(details, dict) else {}


def _line(own: Session, event: dict[str, Any]) -> None:
    """An event as it comes: an object of JSON on a line, or columns as wide as they mostly have to be."""
    shown = _shown(event, own.form)
    if own.form is output.Format.JSON:
        text = output.as_json(shown)
    else:
        cells = [output.cell(name, shown[name]) for name in _COLUMNS]
        widths = (20, 16, 24, 44, 14, 15, 0)
        text = " ".join(each.ljust(width) for each, width in zip(cells, widths, strict=True)).rstrip()
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines, but none longer than an event can be: a file without line ends must not fill the memory."""
    while line := file.readline(_LONGEST_LINE):
        yield line


def _progress(number: int) -> None:
    sys.stderr.write(f"{number} lines\r")  # what follows takes its place
    sys.stderr.flush()


def _tell(own: Session, report: Report) -> None:
    members: dict[str, Any] = {
        "Verified": report.is_verified,
        "Domain": report.domain,
        "Account": report.account,
        "From": output.utc(report.start) if report.start else "the beginning",
        "To": output.utc(report.end),
        "Digests": f"{report.first} to {report.last}" if report.digests else "none",
        "Events": report.events,
        "EventsOfOthers": report.others,
        "Late": report.late,
        "Unsealed": report.unsealed,
    }
    if own.form is output.Format.JSON:
        own.show(
            {**members, "Notes": report.notes, "Findings": report.findings, "FindingCount": report.found}
        )
        return
    own.show(members)
    for note in report.notes:
        output.say(f"note: {note}")
    for finding in report.findings:
        output.say(f"WRONG: {finding}")
    if report.found > len(report.findings):
        output.say(f"... and {report.found - len(report.findings)} more")


def _now() -> int:
    return int(time.time())  # noqa: TID251 - the rule is the service's


def _moment(text: str, now: int) -> int:
    """Seconds since 1970 of a span that ends now, of a time (UTC where no zone is said), or of seconds."""
    span = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if span:
        number, unit = int(span[1]), span[2]
        return now - number * _UNITS[unit] if unit else number
    try:
        # Python 3.10 does not know the Z.
        at = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise Failure("A time is 30s, 15m, 2h, 7d or like 2027-01-31T12:00:00Z.", Exit.USAGE) from None
    return int((at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp())
