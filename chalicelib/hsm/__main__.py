"""`python -m chalicelib.hsm`: the domain keys, for operators."""

import argparse
import getpass
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TextIO

from chalicelib.ceremony import (
    MAX_SHARES,
    Ceremony,
    Draft,
    Refused,
    check_mnemonics,
    open_backup_key,
)
from chalicelib.domain_rotation import NotYet
from chalicelib.hsm.port import HsmError
from chalicelib.hsm.standby import StandbyHsm
from chalicelib.settings import SettingError, Settings
from chalicelib.table.domains import BackupKey
from chalicelib.table.port import TableError
from chalicelib.wiring import build

_DESCRIPTION: Final = """\
The domain keys of an installation: the keys in the HSM that all others are wrapped under. docs/hsm.md describes the
ceremonies step by step. The settings are those of the service (KEYSTEAD_*); run it where they are set.
"""

_CLEAR: Final = "\x1b[2J\x1b[3J\x1b[H"
"""Clears the screen and what was scrolled off it (ECMA-48; 3J is xterm's)."""


class Desk:
    """Where the operator sits: standard input and output, or files in their place."""

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        self._in = stdin
        self._out = stdout

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it, rather than a file or a program."""
        return self._in.isatty() and self._out.isatty()

    def say(self, text: str = "") -> None:
        """One line."""
        self._out.write(text + "\n")
        self._out.flush()

    def pause(self, text: str) -> None:
        """Wait for Enter."""
        self._out.write(text)
        self._out.flush()
        if not self._in.readline():
            raise Refused("The input ended: nothing was changed.")

    def clear(self) -> None:
        """Take everything off the screen."""
        self._out.write(_CLEAR)
        self._out.flush()

    def read_shares(self, title: str) -> list[str]:
        """Mnemonics until there are enough: without echo from a terminal, else a line each."""
        self.say(title)
        if not self.is_terminal:
            return self._read_lines()
        shares: list[str] = []
        while check_mnemonics(shares) > 0 if shares else True:
            entered = getpass.getpass(f"Share {len(shares) + 1} (not shown): ").strip().lower()
            try:
                check_mnemonics([*shares, entered])
            except Refused as refusal:
                self.say(f"{refusal} Enter it again.")
                continue
            shares.append(entered)
        return shares

    def _read_lines(self) -> list[str]:
        """As many as one backup key needs: those of another one may follow."""
        shares: list[str] = []
        for line in filter(None, map(str.strip, self._in)):
            shares.append(line)
            if check_mnemonics(shares) <= 0:
                break
        return shares


def main(arguments: Sequence[str] | None = None, desk: Desk | None = None) -> int:
    """Run a command; the exit status is 1 if it was refused, or found something wrong."""
    desk = desk or Desk(sys.stdin, sys.stdout)
    options = _parser().parse_args(arguments)
    command: Callable[[Ceremony, Desk, argparse.Namespace], int] = options.command
    try:
        # A ceremony decides itself where a key is missing: opening an HSM makes none.
        service = build(Settings.from_environment(), create=False)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        return command(Ceremony(service, _operator()), desk, options)
    except (Refused, NotYet, HsmError, TableError) as error:
        sys.stderr.write(f"{str(error) or type(error).__name__}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return 1
    finally:
        service.close()


def _init(ceremony: Ceremony, desk: Desk, _options: argparse.Namespace) -> int:
    made = ceremony.init()
    for domain in ceremony.domains:
        desk.say(f"{domain}: {'made generation 1' if domain in made else 'has a domain key already'}")
    if made:
        desk.say(
            "Next: `backup-key create`, then `rotate`: generations made without a backup key have no backup."
        )
    return 0


def _create_backup_key(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    if options.out is None and not desk.is_terminal:
        raise Refused("Shares are shown on a terminal only; --out DIR writes them to files instead.")
    draft = ceremony.draft_backup_key(options.shares, options.threshold)
    if options.out is None:
        _hand_out(desk, draft)
    else:
        _write_out(options.out, draft)
        desk.say(
            f"{len(draft.mnemonics)} shares are in {options.out}: give each to its custodian and erase the files."
        )
    ceremony.adopt(draft)
    desk.say(_describe_key(draft.key))
    desk.say(
        "Next: `export` (software HSM), or `rotate`: what was made before is not sealed to this key yet."
    )
    return 0


def _hand_out(desk: Desk, draft: Draft) -> None:
    count = len(draft.mnemonics)
    for number, mnemonic in enumerate(draft.mnemonics, 1):
        desk.clear()
        desk.pause(f"Share {number} of {count}: its custodian alone looks at the screen. Enter shows it.")
        desk.say(f"\nBackup key {draft.key.fingerprint[:16]}, share {number} of {count}:\n")
        words = mnemonic.split()
        for first in range(0, len(words), 4):
            desk.say(
                "  ".join(
                    f"{first + at + 1:2}. {word:10}" for at, word in enumerate(words[first : first + 4])
                )
            )
        desk.pause("\nWrite the words down with their numbers. Enter clears the screen.")
        desk.clear()
    # A share that cannot be read back is found now, and not when everything else is lost.
    shares = desk.read_shares(
        f"To check what was written down, {draft.key.threshold} custodians enter their shares."
    )
    open_backup_key(draft.key, shares)


def _write_out(folder: Path, draft: Draft) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, mnemonic in enumerate(draft.mnemonics, 1):
            path = folder / f"share-{draft.key.fingerprint[:16]}-{number}.txt"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w") as file:
                os.fchmod(descriptor, 0o600)  # whatever the umask
                file.write(mnemonic + "\n")
                file.flush()
                os.fsync(descriptor)
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}. Nothing was changed.") from None


def _export(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    for domain in _domains(ceremony, options):
        sealed = ceremony.export(domain)
        desk.say(f"{domain}: " + (f"sealed generation {_listed(sealed)}" if sealed else "nothing to do"))
    return 0


def _restore(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    keys = ceremony.keys_to_restore()
    if not keys:
        raise Refused("There is no sealed domain key in the tables: put back a backup of the tables first.")
    private_keys = {}
    for key in keys:
        shares = desk.read_shares(f"{_describe_key(key)}\nEnter {key.threshold} shares.")
        private_keys[key.fingerprint] = open_backup_key(key, shares)
    wrong = 0
    for domain in _domains(ceremony, options):
        generations = ceremony.restore(domain, private_keys)
        desk.say(f"{domain}: has generation {_listed(generations) or 'none'}")
        wrong += _verify(ceremony, desk, domain)
    return 1 if wrong else 0


def _verify(ceremony: Ceremony, desk: Desk, domain: str) -> bool:
    found = ceremony.verify(domain)
    desk.say(f"{domain}: opened {found.opened} key tokens")
    if found.lost:
        desk.say(f"{domain}: WRONG: rows name generation {_listed(found.lost)}, which is not here")
    for place in found.damaged:
        desk.say(f"{domain}: WRONG: {place} does not open")
    return bool(found.lost or found.damaged)


def _rotate(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    if not options.without_backup and (key := ceremony.backup_key_in_use()):
        desk.say(_describe_key(key))
    for domain in _domains(ceremony, options):
        number = ceremony.rotate(domain, without_backup=options.without_backup)
        desk.say(f"{domain}: made generation {number}")
    desk.say("The job rewrap_tokens puts everything under it; then `retire` destroys the older ones.")
    return 0


def _add_standby(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    for domain in _domains(ceremony, options):
        missing = ceremony.missing_on_members(domain)
        for name, generations in missing.items():
            desk.say(f"{domain}: {name} lacks generation {_listed(generations)}")
        if not missing:
            desk.say(f"{domain}: every token has every generation")
            continue
        number = ceremony.rotate(domain, without_backup=options.without_backup)
        desk.say(f"{domain}: made generation {number}, which every token has")
    desk.say(
        "Older generations reach a new token with `restore` and the custodians' shares only. Without them, it can stand in"
        " for the others once the job rewrap_tokens has put everything under the newest generation."
    )
    return 0


def _retire(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    for domain in _domains(ceremony, options):
        ceremony.retire(domain, options.generation)
        desk.say(f"{domain}: generation {options.generation} is destroyed")
    return 0


def _status(ceremony: Ceremony, desk: Desk, options: argparse.Namespace) -> int:
    wrong: list[str] = []
    key: BackupKey | None = None
    try:
        key = ceremony.backup_key_in_use()
        desk.say(_describe_key(key) if key else "There is no backup key.")
    except (Refused, HsmError) as error:
        wrong.append(str(error))
    for domain in _domains(ceremony, options):
        try:
            wrong += _domain_status(ceremony, desk, domain, key)
        except HsmError as error:
            wrong.append(f"{domain}: {str(error) or type(error).__name__}")
    for line in wrong:
        desk.say(f"WRONG: {line}")
    return 1 if wrong else 0


def _domain_status(ceremony: Ceremony, desk: Desk, domain: str, key: BackupKey | None) -> list[str]:
    hsm = ceremony.hsm(domain)
    wrong = []
    if isinstance(hsm, StandbyHsm):
        members = hsm.health()
        for member in members:
            error = f", last error {member.error}" if member.error else ""
            desk.say(f"{domain}: {member.name} is {member.state} for {member.seconds:.0f} s{error}")
            if member.state != "up":
                wrong.append(f"{domain}: {member.name} is {member.state}")
        if all(member.state == "up" for member in members):
            wrong += [
                f"{domain}: {name} lacks generation {_listed(generations)}: see `add-standby`"
                for name, generations in ceremony.missing_on_members(domain).items()
            ]
    generations = hsm.generations()
    technology = hsm.describe()["technology"]
    unsealed = ceremony.without_backup(domain, key) if key else list(generations)
    sealed = [generation for generation in generations if generation not in unsealed]
    desk.say(
        f"{domain}: {technology}, generation {_listed(generations) or 'none'}; with a backup: {_listed(sealed) or 'none'}"
    )
    if not generations:
        wrong.append(f"{domain}: there is no domain key: `init`, or `restore` if there was one")
    if unsealed and (key or technology != "software"):
        remedy = (
            "`export`"
            if technology == "software" and key
            else "`backup-key create`, `rotate`"
            if not key
            else "`rotate`, then `retire`"
        )
        wrong.append(f"{domain}: generation {_listed(unsealed)} has no backup: {remedy}")
    return wrong


def _describe_key(key: BackupKey) -> str:
    return f"Backup key {key.fingerprint}: any {key.threshold} of {key.shares} shares open it."


def _domains(ceremony: Ceremony, options: argparse.Namespace) -> Sequence[str]:
    chosen: list[str] = options.domain or list(ceremony.domains)
    if unknown := set(chosen) - set(ceremony.domains):
        raise Refused(
            f"There is no domain {', '.join(sorted(unknown))}. There are: {', '.join(ceremony.domains)}."
        )
    return chosen


def _listed(generations: Sequence[int]) -> str:
    return ", ".join(map(str, generations))


def _operator() -> str:
    """The operating system's name for who runs this; not what a variable says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chalicelib.hsm", description=_DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[..., int], text: str, *, domains: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text.partition(".")[0], description=text)
        added.set_defaults(command=command)
        if domains:
            added.add_argument(
                "--domain", action="append", help="identity, or a region; may be repeated (default: all)"
            )
        return added

    add(
        "init",
        _init,
        "Make the domain key of every domain that has none. With several tokens, each gets it by a wrapped transfer;"
        " all must work.",
        domains=False,
    )
    add(
        "status",
        _status,
        "Show tokens, generations and backups. The exit status is 1 if something is wrong, and a line says what.",
    )
    backup = commands.add_parser("backup-key", help="The key that backups are sealed to")
    backup_commands = backup.add_subparsers(required=True, metavar="create")
    create = backup_commands.add_parser(
        "create",
        help="Make a backup key and its shares",
        description="Make an RSA-4096 key for backups. Its private half is sealed under a secret that is split into SLIP-39"
        " shares of 33 words, shown one after the other to their custodians; then enough of them are entered to check what was"
        " written down. Nothing is stored before that. From now on new generations are sealed to this key.",
    )
    create.set_defaults(command=_create_backup_key)
    create.add_argument("--shares", type=int, required=True, help=f"how many custodians: up to {MAX_SHARES}")
    create.add_argument("--threshold", type=int, required=True, help="how many of them restore: 2 or more")
    create.add_argument(
        "--out", type=Path, metavar="DIR", help="write the shares to files (mode 0600) instead of the screen"
    )
    add(
        "export",
        _export,
        "Seal the generations that have no backup to the backup key, into the table. Only the software HSM lets a domain"
        " key out that is there already; with tokens, `rotate` makes one that is sealed at its birth.",
    )
    add(
        "restore",
        _restore,
        "Bring the domain keys back into the HSM that is configured, from the tables and the custodians' shares, which"
        " are read from the terminal without echo, or from standard input, a line each. Then every key token is opened;"
        " the exit status is 1 if one does not. A domain key that is there already stays.",
    )
    standby = add(
        "add-standby",
        _add_standby,
        "Give a token that was added to KEYSTEAD_PKCS11_TOKENS a generation of each domain: a new one, since older ones"
        " were sealed at their birth to the tokens and the backup key of that time. Those reach it with `restore` only.",
    )
    rotate = add(
        "rotate",
        _rotate,
        "Make a new generation of the domain keys, sealed to every other token and to the backup key before it is used."
        " Older generations go on opening what they sealed.",
    )
    for each in (standby, rotate):
        each.add_argument("--without-backup", action="store_true", help="do not seal it to a backup key")
    retire = add(
        "retire",
        _retire,
        "Destroy an older generation, its backups in the table included, once nothing names it. What it sealed is in"
        " copies of the table for ever: after this nobody opens those.",
    )
    retire.add_argument("--generation", type=int, required=True, help="which one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
