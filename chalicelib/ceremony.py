"""The life of domain keys in the operator's hands: the first generation, backups, restoring, rotation, retirement.

A generation leaves the HSM at its birth at most, and only sealed: to the other HSMs of the domain, and to the **backup key**,
an RSA pair whose private half is sealed under a secret that only a number of custodians together have (SLIP-39 shares).
All that is sealed is in the table, so a backup of the table and enough shares bring everything back.

Anybody can seal to a public key, and whoever writes the table could put his own in its place. So the domain `identity`
vouches for the backup key in use: with a key token that is bound to it, which only that HSM can make.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from chalicelib import audit, domain_rotation, ids
from chalicelib.context import IDENTITY, Service
from chalicelib.formats import backup_key, key_token
from chalicelib.formats.sealed_generation import SealedGeneration
from chalicelib.hsm.port import Damaged, Hsm, HsmKey, KeyKind, NewGeneration
from chalicelib.hsm.standby import StandbyHsm
from chalicelib.jobs.lease import Lease
from chalicelib.jobs.rewrap_tokens import PAGE, tokens_of
from chalicelib.table import domains as rows
from chalicelib.table.domains import BackupKey, GenerationBackup
from chalicelib.table.port import Busy, Op, Table, Unacknowledged

MAX_SHARES: Final = 16
OPERATOR: Final = "Operator"
"""Who acts in the events of ceremonies."""

_FAILED: Final = "FailedOperation"
_TRIES: Final = 4
_PAUSE: Final = 0.05
_SYMMETRIC: Final = (KeyKind.AES_256, KeyKind.SM4)


class Refused(Exception):
    """A ceremony does not go on: the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A backup key that is not in use yet, and its shares."""

    key: BackupKey
    mnemonics: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found when tokens of the table were opened."""

    opened: int
    damaged: tuple[str, ...]
    """Rows that cannot be read, or whose token does not open although its generation is there."""
    lost: tuple[int, ...]
    """Generations that tokens name and the HSM lacks."""


class Ceremony:
    """What an operator does with an installation's domain keys."""

    def __init__(self, service: Service, operator: str) -> None:
        """`operator` is who acts, for the audit trail."""
        self._service = service
        self._operator = operator
        self.domains: Final = (IDENTITY, *service.settings.regions)

    # Domain keys

    def init(self) -> list[str]:
        """Make the domain key of each domain that has none; the domains for which that was done."""
        made = []
        for domain in self.domains:
            if not self._service.hsm(domain).generations():
                if self._has_tokens(domain):
                    raise Refused(
                        f"The table of {domain} has keys of a domain key that the HSM lacks: restore it from its backup."
                    )
                self.rotate(domain, without_backup=True)
                made.append(domain)
        return made

    def rotate(self, domain: str, *, without_backup: bool = False) -> int:
        """Make a new generation, sealed to the backup key; its number.

        Killed anywhere, there is no generation in use without its backup: the row is written first.
        """
        hsm, table = self._service.hsm(domain), self._service.table(domain)
        key: BackupKey | None = None
        # Before the leases, which last two minutes, and not in `keep`, which the HSM waits for: this reads the whole table.
        named = max(self._named(domain), default=0)

        def keep(new: NewGeneration) -> None:
            if named >= new.number:
                # A number that was in use: its backup, which nothing else can replace, would be written over.
                raise Refused(
                    f"The table of {domain} has keys of a domain key that the HSM lacks: restore it from its backup."
                )
            if key is not None:
                backup = GenerationBackup(domain, new.number, key.fingerprint, new.sealed[0])
                _write(table, [rows.put_generation(backup)])

        # Of `identity` too: a backup key that takes over meanwhile would miss this generation.
        with self._alone(IDENTITY, domain):
            key = None if without_backup else self.backup_key_in_use()
            if key is None and not without_backup:
                raise Refused(
                    "There is no backup key: make one with `backup-key create`, or rotate with --without-backup."
                )
            with self._recorded("RotateDomainKey", ("domain", domain)) as event:
                number = hsm.rotate([key.public_key] if key is not None else [], keep).number
                event.note("generation", f"{domain}/{number}")
        return number

    def retire(self, domain: str, generation: int) -> None:
        """Destroy an older generation and its backups in the table; raises NotYet while something may need it."""
        domain_rotation.check_retirable(self._service, domain, generation)
        with self._recorded("RetireDomainKey", ("domain", domain)) as event:
            event.note("generation", f"{domain}/{generation}")
            # The backups go first: killed in between, the next run finds the generation and ends what this one began.
            table = self._service.table(domain)
            found = [b for b in rows.generations(table, domain) if b.generation == generation]
            if found:
                _write(table, [rows.delete_generation(backup) for backup in found])
            self._service.hsm(domain).retire(generation)

    # The backup key

    def draft_backup_key(self, shares: int, threshold: int) -> Draft:
        """A new backup key, not yet in use, whose private half any `threshold` of the `shares` open."""
        if not 2 <= threshold <= shares <= MAX_SHARES:  # noqa: PLR2004 - one share is no sharing
            raise Refused(
                f"The threshold is at least 2, and at most the number of shares, which is at most {MAX_SHARES}."
            )
        if not self._service.hsm(IDENTITY).generations():
            raise Refused("The domain keys are not there yet: run `init` first, or `restore`.")
        public_key, private_key = backup_key.generate()
        secret = secrets.token_bytes(backup_key.SECRET_BYTES)
        key = BackupKey(
            fingerprint=backup_key.fingerprint(public_key),
            public_key=public_key,
            sealed=backup_key.seal(secret, public_key, private_key),
            shares=shares,
            threshold=threshold,
            created_at=self._service.clock.now(),
        )
        return Draft(key, _split(secret, shares, threshold))

    def adopt(self, draft: Draft) -> None:
        """Put a backup key to use: from now on generations are sealed to it, and no longer to the one before."""
        hsm, identity = self._service.hsm(IDENTITY), self._service.table(IDENTITY)
        token = hsm.generate(KeyKind.AES_256, backup_key.binding(draft.key.public_key)).token
        with self._alone(IDENTITY), self._recorded("CreateBackupKey", ("backupKey", draft.key.fingerprint)):
            for region in self._service.settings.regions:
                _write(self._service.table(region), [rows.put_backup_key(draft.key)])
            keys = {k.fingerprint: replace(k, token=b"") for k in rows.backup_keys(identity) if k.token}
            keys[draft.key.fingerprint] = replace(draft.key, token=token)
            _write(identity, [rows.put_backup_key(key) for key in keys.values()])

    def backup_key_in_use(self) -> BackupKey | None:
        """The backup key that `identity` vouches for; Refused if the table has another one in its place."""
        found = [key for key in rows.backup_keys(self._service.table(IDENTITY)) if key.token]
        if not found:
            return None
        key = found[0]
        try:
            vouched = HsmKey(KeyKind.AES_256, key.token, backup_key.binding(key.public_key))
            self._service.hsm(IDENTITY).check_value(vouched)
        except Damaged:
            vouched = None
        if len(found) > 1 or vouched is None or backup_key.fingerprint(key.public_key) != key.fingerprint:
            raise Refused(
                "The backup key in the identity table is not the one that was put to use: somebody may have replaced it to"
                " get at the next domain key. Find out who; then make a new one with `backup-key create`."
            )
        return key

    def export(self, domain: str) -> list[int]:
        """Seal each generation that has no backup to the backup key in use, where the HSM lets it out."""
        key = self.backup_key_in_use()
        if key is None:
            raise Refused("There is no backup key: make one with `backup-key create`.")
        hsm, table = self._service.hsm(domain), self._service.table(domain)
        missing = self.without_backup(domain, key)
        if not missing:
            return []
        with self._recorded("ExportDomainKeys", ("domain", domain)):
            try:
                sealed = {generation: hsm.export(generation, key.public_key) for generation in missing}
            except ValueError:
                raise Refused(
                    f"{domain}: this HSM lets no domain key out once it is made. `rotate` makes a generation that is sealed to"
                    " the backup key at its birth; tokens are put under it, and the ones without a backup are retired."
                ) from None
            backups = [GenerationBackup(domain, g, key.fingerprint, sealed[g]) for g in missing]
            _write(table, [rows.put_generation(backup) for backup in backups])
        return missing

    def hsm(self, domain: str) -> Hsm:
        """The HSM of a domain."""
        return self._service.hsm(domain)

    def missing_on_members(self, domain: str) -> dict[str, list[int]]:
        """Which generations each token lacks that another one has; tokens that have all are not named."""
        hsm = self._service.hsm(domain)
        if not isinstance(hsm, StandbyHsm):
            return {}
        held = {name: set(member.generations()) for name, member in hsm.members().items()}
        every = set.union(*held.values())
        return {
            name: sorted(every - generations) for name, generations in held.items() if every - generations
        }

    def without_backup(self, domain: str, key: BackupKey) -> list[int]:
        """The generations that the HSM has and the table does not have sealed to a key."""
        backups = rows.generations(self._service.table(domain), domain)
        sealed = {b.generation for b in backups if b.fingerprint == key.fingerprint}
        return [g for g in self._service.hsm(domain).generations() if g not in sealed]

    # Restoring

    def keys_to_restore(self) -> list[BackupKey]:
        """The backup keys whose shares a restoration needs: the one in use, and former ones for what that one lacks."""
        known: dict[str, BackupKey] = {}
        wanted: dict[tuple[str, int], set[str]] = {}
        for domain in self.domains:
            table = self._service.table(domain)
            for key in rows.backup_keys(table):
                known.setdefault(key.fingerprint, key)
            for backup in rows.generations(table, domain):
                wanted.setdefault((domain, backup.generation), set()).add(backup.fingerprint)
        chosen = []
        for key in sorted(known.values(), key=lambda key: (bool(key.token), key.created_at), reverse=True):
            covered = [place for place, fingerprints in wanted.items() if key.fingerprint in fingerprints]
            if covered:
                chosen.append(key)
                wanted = {place: wanted[place] for place in wanted if place not in covered}
        return chosen

    def restore(self, domain: str, private_keys: Mapping[str, bytes]) -> list[int]:
        """Bring the generations of a domain back into its HSM; `private_keys` are backup keys' by their fingerprint.

        The generations that are there afterwards. May be run again.
        """
        hsm = self._service.hsm(domain)
        backups = rows.generations(self._service.table(domain), domain)
        usable = {b.generation: b for b in backups if b.fingerprint in private_keys}
        with self._alone(domain), self._recorded("RestoreDomainKeys", ("domain", domain)):
            for generation, backup in sorted(usable.items()):
                try:
                    _restore(hsm, backup, private_keys[backup.fingerprint])
                except Damaged:
                    raise Refused(
                        f"{domain}: generation {generation} in the table is not what was sealed, or an older one is not:"
                        " somebody changed the table or this backup of it. Empty the token (or remove the key file) and"
                        " restore from another backup of the table."
                    ) from None
                except ValueError:
                    raise Refused(
                        f"{domain}: the HSM has another generation {generation} already. Restore into an empty token"
                        " (or home)."
                    ) from None
        return list(hsm.generations())

    def verify(self, domain: str) -> Verification:
        """Open every key token of the domain's table; no use of a key is recorded by that."""
        hsm = self._service.hsm(domain)
        generations = set(hsm.generations())
        opened, damaged, lost = 0, [], set()
        for place, key in self._tokens(domain):
            try:
                if key is None:
                    damaged.append(place)
                elif (generation := key_token.generation_of(key.token)) not in generations:
                    lost.add(generation)
                else:
                    hsm.check_value(key) if key.kind in _SYMMETRIC else hsm.public_key(key)
                    opened += 1
            except Damaged:
                damaged.append(place)
        return Verification(opened, tuple(damaged), tuple(sorted(lost)))

    # How

    def _named(self, domain: str) -> set[int]:
        """The generations that key tokens of the table name."""
        found = set()
        for _, key in self._tokens(domain):
            with contextlib.suppress(Damaged):
                found.add(key_token.generation_of(key.token) if key else 0)
        return found

    def _has_tokens(self, domain: str) -> bool:
        return next(self._tokens(domain), None) is not None

    def _tokens(self, domain: str) -> Iterator[tuple[str, HsmKey | None]]:
        """Every key token and where it is; None for a row that cannot be read."""
        table = self._service.table(domain)
        after = None
        while True:
            page = table.scan(after=after, limit=PAGE)
            for row in page:
                place = f"{row.pk}, {row.sk}"
                try:
                    found = tokens_of(row, domain)
                except Exception:  # noqa: BLE001 - whatever is wrong with the row
                    yield place, None
                    continue
                for key in found:
                    yield place, key
            if len(page) < PAGE:
                return
            after = (page[-1].pk, page[-1].sk)

    @contextlib.contextmanager
    def _alone(self, *domains: str) -> Iterator[None]:
        """Nobody else changes the domains' generations, or with `identity` the backup key, meanwhile."""
        with contextlib.ExitStack() as held:
            for domain in dict.fromkeys(domains):
                lease = Lease(self._service.table(domain), f"ceremony#{domain}")
                if not lease.acquire(self._service.clock.now()):
                    raise Refused(
                        f"Another ceremony on {domain} is under way, or died less than two minutes ago: try again."
                    )
                held.callback(lease.release)
            yield

    @contextlib.contextmanager
    def _recorded(self, action: str, resource: tuple[str, str]) -> Iterator[audit.Event]:
        """Announce a ceremony in the audit trail of `identity`, and say in a further event what became of it."""
        now_ms = self._service.clock.now_ms()
        event = audit.Event(
            id=ids.request_id(now_ms),
            at_ms=now_ms,
            service="kms",
            action=action,
            is_read=False,
            user_name=self._operator,
            user_type=OPERATOR,
            authentication="console",
        )
        event.note(*resource)
        trail = self._service.trail(IDENTITY)
        trail.keep(event)
        try:
            yield event
        except BaseException:
            event.error_code = _FAILED
            trail.keep(event)
            raise
        trail.keep(event)


def open_backup_key(key: BackupKey, mnemonics: Sequence[str]) -> bytes:
    """The private half, PKCS#8 in DER; Refused unless the mnemonics are enough shares of this key."""
    secret = _combine(mnemonics)
    try:
        return backup_key.open_sealed(secret, key.public_key, key.sealed)
    except Damaged:
        raise Refused(
            f"These shares are not those of the backup key {key.fingerprint[:16]}, or its row was changed."
        ) from None


def check_mnemonics(mnemonics: Sequence[str]) -> int:
    """How many more shares are needed; Refused, in words that repeat none of theirs, for what does not fit together."""
    from shamir_mnemonic import MnemonicError, Share  # noqa: PLC0415 - ceremonies alone need it

    shares: list[Share] = []
    for number, mnemonic in enumerate(mnemonics, 1):
        try:
            share = Share.from_mnemonic(mnemonic)
        except MnemonicError:
            raise Refused(f"Share {number} has a wrong, missing or misspelt word.") from None
        if shares and share.group_parameters() != shares[0].group_parameters():
            raise Refused(f"Share {number} belongs to another backup key than share 1.")
        if any(share.index == other.index for other in shares):
            raise Refused(f"Share {number} was entered twice.")
        shares.append(share)
    return shares[0].member_threshold - len(shares) if shares else 2


def _combine(mnemonics: Sequence[str]) -> bytes:
    from shamir_mnemonic import MnemonicError, combine_mnemonics  # noqa: PLC0415 - as above

    missing = check_mnemonics(mnemonics)
    if missing > 0:
        raise Refused(f"These shares are too few: {missing} more needed.")
    try:
        secret: bytes = combine_mnemonics(list(mnemonics)[: len(mnemonics) + missing])
    except MnemonicError:
        raise Refused("These shares do not fit together: at least one is not of this backup key.") from None
    return secret


def _split(secret: bytes, shares: int, threshold: int) -> tuple[str, ...]:
    from shamir_mnemonic import generate_mnemonics  # noqa: PLC0415 - as above

    (mnemonics,) = generate_mnemonics(1, [(threshold, shares)], secret)
    return tuple(mnemonics)


def _restore(hsm: Hsm, backup: GenerationBackup, private_key: bytes) -> None:
    """Take one generation; anybody can seal to a public key, so each but the first needs the word of one before it."""
    older = {generation for generation in hsm.generations() if generation < backup.generation}
    if older and not older & SealedGeneration.decode(backup.sealed).vouchers.keys():
        raise Damaged
    hsm.restore(backup.generation, backup.sealed, private_key)


def _write(table: Table, ops: Sequence[Op]) -> None:
    """Write ops that may happen twice."""
    for attempt in range(_TRIES):
        try:
            table.write(ops)
        except (Busy, Unacknowledged):
            if attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE * 2**attempt)
        else:
            return
