"""`python -m chalicelib.audit`: export the audit trail, and verify an export without any secret."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from chalicelib.audit.export import Span, export
from chalicelib.audit.seal import digest_line, read_anchor, signer
from chalicelib.audit.verify import Report, UnusableKey, Verifier, verify
from chalicelib.context import IDENTITY, Service
from chalicelib.formats.audit_digest import MalformedLine, SignedDigest
from chalicelib.formats.record import UnreadableRecord
from chalicelib.hsm import public
from chalicelib.hsm.port import HsmError
from chalicelib.settings import SettingError
from chalicelib.table import audit_digests as rows
from chalicelib.table.port import TableError

_PAGE: Final = 100
_NOT_VERIFIED: Final = 1
_IMPOSSIBLE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 if all is well, 1 if an export does not verify, 2 if the command could not be done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        return _IMPOSSIBLE
    except (OSError, SettingError, HsmError, TableError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    except (MalformedLine, UnreadableRecord):
        sys.stderr.write("A digest in the table cannot be read: the table was changed by somebody else.\n")
    except (UnusableKey, public.BadPublicKey):
        sys.stderr.write("--public-key is one PEM block with a P-256 or SM2 public key.\n")
    return _IMPOSSIBLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chalicelib.audit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    each = commands.add_parser("export", help="write sealed events with their digests, as JSON lines")
    _add_domain(each)
    each.add_argument("--account", default="", help="show this account's events only; 0: unknown callers'")
    each.add_argument(
        "--since", type=_time, default=0, metavar="TIME", help="2026-11-22T10:00:00Z, or seconds"
    )
    each.add_argument("--until", type=_time, default=2**40, metavar="TIME")
    each.add_argument("--unsealed", action="store_true", help="also events that belong to no digest yet")
    each.add_argument("--output", type=Path, help="a new file; default: standard output")
    each.set_defaults(run=_export)

    each = commands.add_parser("public-key", help="print the key that digests are signed with, as PEM")
    _add_domain(each)
    each.set_defaults(run=_public_key)

    each = commands.add_parser("digests", help="print digests, oldest first, to be anchored elsewhere")
    _add_domain(each)
    each.add_argument("--after", type=int, default=0, metavar="NUMBER", help="only those with higher numbers")
    each.set_defaults(run=_digests)

    each = commands.add_parser("verify", help="check an export: needs the public key, and nothing else")
    each.add_argument("file", type=Path, help="what `export` wrote")
    each.add_argument("--public-key", type=Path, required=True, metavar="PEM")
    each.add_argument(
        "--anchor", type=Path, help="digests that were kept elsewhere: the end must not be missing"
    )
    each.add_argument("--since", type=_time, metavar="TIME", help="the export must go back to this time")
    each.add_argument("--until", type=_time, metavar="TIME", help="the export must reach this time")
    each.add_argument("--unsealed-ok", action="store_true", help="accept events after the last digest")
    each.set_defaults(run=_verify)
    return parser


def _add_domain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--domain", required=True, help=f"a region, or `{IDENTITY}` for cam, sts and cloudaudit"
    )


def _time(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _service(domain: str) -> Service:
    # Not at the top: verifying needs no settings, no table and no HSM.
    from chalicelib.wiring import service  # noqa: PLC0415

    built = service()
    if domain not in (IDENTITY, *built.settings.regions):
        raise SettingError(f"--domain is one of: {IDENTITY}, {', '.join(built.settings.regions)}")
    return built


def _export(options: argparse.Namespace) -> int:
    service = _service(options.domain)
    span = Span(options.since, options.until, options.account, options.unsealed)
    with ExitStack() as stack:
        output: BinaryIO = sys.stdout.buffer
        if options.output is not None:
            output = stack.enter_context(options.output.open("xb"))
        for number, line in enumerate(export(service, options.domain, span), 1):
            output.write(line)
            if number % 10_000 == 0:
                sys.stderr.write(f"{number} lines\n")
        output.flush()
    return 0


def _public_key(options: argparse.Namespace) -> int:
    service = _service(options.domain)
    sys.stdout.write(public.to_pem(signer(service, options.domain).public_key()))
    return 0


def _digests(options: argparse.Namespace) -> int:
    table = _service(options.domain).table(options.domain)
    number = options.after
    while page := rows.after(table, options.domain, number, _PAGE):
        for stored in page:
            sys.stdout.write(digest_line(stored.signed).decode())
        number = page[-1].signed.digest.number
    return 0


def _verify(options: argparse.Namespace) -> int:
    anchor = read_anchor(options.anchor.read_bytes()) if options.anchor else []
    if options.anchor and not anchor:
        sys.stderr.write("--anchor names a file without a digest: nothing was checked.\n")
        return _IMPOSSIBLE
    verifier = Verifier(
        public.from_pem(options.public_key.read_text()),
        anchor=anchor,
        since=options.since,
        until=options.until,
        unsealed_ok=options.unsealed_ok,
    )
    with options.file.open("rb") as file:
        report = verify(file, verifier, lambda number: _progress(number, verifier.report))
    sys.stdout.writelines(_told(report, is_anchored=bool(anchor) or options.until is not None))
    return _NOT_VERIFIED if report.found else 0


def _progress(number: int, report: Report) -> None:
    sys.stderr.write(f"{number} lines, {report.digests} digests, {report.found} findings\n")


def _told(report: Report, *, is_anchored: bool) -> Iterator[str]:
    if report.first and report.last:
        whose = f"account {report.account} of " if report.account else ""
        yield (
            f"{whose}{report.domain}: {report.events} events, digests {report.first.digest.number} to"
            f" {report.last.digest.number}, written from {_shown(report.first)} to {_shown_end(report.last)}\n"
        )
    for note in report.notes:
        yield f"note: {note}\n"
    if not is_anchored:
        yield "note: without --anchor or --until, an end that was cut off after a digest is not noticed.\n"
    for finding in report.findings:
        yield f"WRONG: {finding}\n"
    if report.found > len(report.findings):
        yield f"... and {report.found - len(report.findings)} more\n"
    yield f"{'DOES NOT VERIFY' if report.found else 'verified'}: {report.found} findings\n"


def _shown(first: SignedDigest) -> str:
    return _iso(first.digest.start) if first.digest.start else "the beginning"


def _shown_end(last: SignedDigest) -> str:
    return _iso(last.digest.end)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
