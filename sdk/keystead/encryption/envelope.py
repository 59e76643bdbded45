"""The data keys of messages: made at one CMK, encrypted under all of them, opened by any."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Final, TypeVar

from keystead.encryption.errors import KeysUnavailable, KmsFailure, Refusal
from keystead.encryption.format import MAX_EDKS, EncryptedDataKey, encode_edks
from keystead.encryption.kms import Kms
from keystead.encryption.suites import DATA_KEY_BYTES, wipe

_Answer = TypeVar("_Answer")
REST_SECONDS: Final = 30.0
"""How long a region that gave no answer is asked last."""


@dataclass(frozen=True)
class MasterKey:
    """A CMK: its region and its id."""

    region: str
    """As in "ap-guangzhou": 1 to 64 visible ASCII characters."""
    key_id: str
    """1 to 128 visible ASCII characters."""


class Envelope:
    """One primary and up to four backup CMKs.

    `minimum` of them must answer before anything is encrypted. `patience` seconds is how long a CMK is waited for
    before the next is asked as well, or, once the minimum is there, before the message goes without it.
    """

    def __init__(
        self,
        kms: Kms,
        keys: Sequence[MasterKey],
        *,
        minimum: int = 1,
        patience: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= len(keys) <= MAX_EDKS or len(set(keys)) < len(keys):
            raise ValueError(f"There is one primary CMK and at most {MAX_EDKS - 1} backups, all different.")
        if not 1 <= minimum <= len(keys):
            raise ValueError("`minimum` is at least 1 and at most the number of CMKs.")
        encode_edks(tuple(EncryptedDataKey(key.region, key.key_id, "-") for key in keys))
        self.keys = tuple(keys)
        """The primary CMK, then the backups."""
        self._kms = kms
        self._minimum = minimum
        self._patience = patience
        self._clock = clock
        self._rests_until: dict[str, float] = {}

    def new(self, context: Mapping[str, str]) -> tuple[bytearray, tuple[EncryptedDataKey, ...]]:
        """A data key of 32 bytes, and its EDKs in the order of the CMKs. Raises KeysUnavailable."""
        refusals: list[Refusal] = []
        maker, (data_key, made) = self._first(
            self._by_health(self.keys),
            lambda key: _made(key, *self._kms.generate_data_key(key.region, key.key_id, context)),
            refusals,
        )
        refused = {(refusal.region, refusal.key_id) for refusal in refusals}
        others = [key for key in self.keys if key != maker and (key.region, key.key_id) not in refused]
        edks = {maker: made}
        edks.update(self.wrap(data_key, context, others, self._minimum - 1, refusals))
        if len(edks) < self._minimum:
            wipe(data_key)
            raise KeysUnavailable(self._minimum, tuple(refusals))
        return data_key, tuple(edks[key] for key in self.keys if key in edks)

    def wrap(
        self,
        data_key: bytearray,
        context: Mapping[str, str],
        keys: Sequence[MasterKey],
        needed: int,
        refusals: list[Refusal],
    ) -> dict[MasterKey, EncryptedDataKey]:
        """The data key under each of the keys that answers, all asked at once; regions at rest if they are needed."""
        plaintext = bytes(data_key)

        def encrypt(key: MasterKey) -> EncryptedDataKey:
            return _edk(key, self._kms.encrypt(key.region, key.key_id, plaintext, context))

        ready = [key for key in keys if not self._rests(key)]
        resting = [key for key in keys if key not in ready]
        edks = self._all(ready, encrypt, needed, refusals)
        if len(edks) < needed:
            edks.update(self._all(resting, encrypt, needed - len(edks), refusals))
        return edks

    def open(self, edks: Iterable[EncryptedDataKey], context: Mapping[str, str]) -> bytearray:
        """The data key, by the first CMK of this envelope that opens it. Raises KeysUnavailable.

        EDKs of other CMKs are not tried: a message cannot make its reader call keys that are not the reader's.
        """
        by_key = {MasterKey(edk.region, edk.key_id): edk for edk in edks}
        refusals: list[Refusal] = []
        _, data_key = self._first(
            self._by_health([key for key in self.keys if key in by_key]),
            lambda key: _data_key(self._kms.decrypt(key.region, key.key_id, by_key[key].ciphertext, context)),
            refusals,
        )
        return data_key

    def _by_health(self, keys: Sequence[MasterKey]) -> list[MasterKey]:
        return sorted(keys, key=self._rests)

    def _rests(self, key: MasterKey) -> bool:
        return self._clock() < self._rests_until.get(key.region, float("-inf"))

    def _first(
        self, keys: Sequence[MasterKey], call: Callable[[MasterKey], _Answer], refusals: list[Refusal]
    ) -> tuple[MasterKey, _Answer]:
        """The first answer. The next key is asked where one fails, or keeps silent for longer than the patience."""
        waiting = list(reversed(keys))
        pending: dict[Future[_Answer], MasterKey] = {}
        while waiting or pending:
            if waiting:
                key = waiting.pop()
                pending[self._start(key, call)] = key
            done, _ = wait(pending, timeout=self._patience if waiting else None, return_when=FIRST_COMPLETED)
            for future in done:
                key = pending.pop(future)
                try:
                    return key, future.result()
                except KmsFailure as failure:
                    refusals.append(Refusal(key.region, key.key_id, failure.code))
        raise KeysUnavailable(1, tuple(refusals))

    def _all(
        self,
        keys: Sequence[MasterKey],
        call: Callable[[MasterKey], EncryptedDataKey],
        needed: int,
        refusals: list[Refusal],
    ) -> dict[MasterKey, EncryptedDataKey]:
        """Every answer that comes in time: the first `needed` are waited for, the others for as long as the patience."""
        pending = {self._start(key, call): key for key in keys}
        answers: dict[MasterKey, EncryptedDataKey] = {}
        until = self._clock() + self._patience
        while pending:
            enough = len(answers) >= needed
            done, _ = wait(
                pending,
                timeout=max(0.0, until - self._clock()) if enough else None,
                return_when=FIRST_COMPLETED,
            )
            if not done:
                break
            for future in done:
                key = pending.pop(future)
                try:
                    answers[key] = future.result()
                except KmsFailure as failure:
                    refusals.append(Refusal(key.region, key.key_id, failure.code))
        return answers

    def _start(self, key: MasterKey, call: Callable[[MasterKey], _Answer]) -> Future[_Answer]:
        """The call in a thread of its own: a region that hangs must not use up the threads of a pool."""
        future: Future[_Answer] = Future()

        def run() -> None:
            try:
                future.set_result(call(key))
            except KmsFailure as failure:
                if failure.unreachable:
                    self._rests_until[key.region] = self._clock() + REST_SECONDS
                future.set_exception(failure)
            except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
                future.set_exception(error)
            else:
                self._rests_until.pop(key.region, None)

        threading.Thread(target=run, name=f"keystead {key.region}", daemon=True).start()
        return future


def _made(key: MasterKey, plaintext: bytes, ciphertext: str) -> tuple[bytearray, EncryptedDataKey]:
    return _data_key(plaintext), _edk(key, ciphertext)


def _data_key(plaintext: bytes) -> bytearray:
    if len(plaintext) != DATA_KEY_BYTES:
        raise KmsFailure("MalformedAnswer")
    return bytearray(plaintext)


def _edk(key: MasterKey, ciphertext: str) -> EncryptedDataKey:
    edk = EncryptedDataKey(key.region, key.key_id, ciphertext)
    try:
        encode_edks((edk,))
    except ValueError:
        raise KmsFailure("MalformedAnswer") from None
    return edk
