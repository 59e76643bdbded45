"""What goes wrong. No message of these errors contains a key, a plaintext or a value of a context."""

from dataclasses import dataclass


class EncryptionError(Exception):
    """Every error of the Encryption SDK that a caller may want to handle. They can be pickled."""


class Damaged(EncryptionError):
    """Not a message, cut short, changed, or put together from several: one error, whatever is wrong."""

    def __str__(self) -> str:
        return "The message is damaged or is not an Encryption SDK message."


class WrongContext(EncryptionError):
    """The message is whole, but its encryption context is not the one that the caller expects."""

    def __str__(self) -> str:
        return "The message has another encryption context than expected."


class Unsigned(EncryptionError):
    """The message is not signed and this client takes signed messages only."""

    def __str__(self) -> str:
        return "The message is not signed, and this client takes signed messages only."


class Weak(EncryptionError):
    """The message is in one of the vendor's modes whose frames can be changed unseen or show equal blocks."""

    def __str__(self) -> str:
        return "The message is in a weak mode; a client reads those with allow_weak=True only."


class KmsFailure(EncryptionError):
    """One call to KMS failed. `code` is KMS's error code; `unreachable` says that the region cannot answer now, if at all."""

    def __init__(self, code: str, *, unreachable: bool = False) -> None:
        super().__init__(code)
        self.code = code
        """KMS's error code, "Unreachable" without an answer, "MalformedAnswer" or "OtherKey" where it makes no sense."""
        self.unreachable = unreachable
        """Whether the region cannot answer now: no answer, too many requests, or an error of its own."""


@dataclass(frozen=True)
class Refusal:
    """Why one CMK was of no use."""

    region: str
    """The region that was asked."""
    key_id: str
    """The id of the CMK."""
    code: str
    """As `KmsFailure.code`."""


class KeysUnavailable(EncryptionError):
    """Fewer CMKs answered than are needed. `refusals` has one entry for each that was asked and failed."""

    def __init__(self, needed: int, refusals: tuple[Refusal, ...]) -> None:
        super().__init__(needed, refusals)
        self.needed = needed
        """How many CMKs must answer."""
        self.refusals = refusals
        """Why the ones that were asked did not."""

    def __str__(self) -> str:
        asked = ", ".join(f"{r.region}/{r.key_id}: {r.code}" for r in self.refusals)
        return f"{self.needed} CMK(s) must answer and too few did ({asked or 'none of them is known here'})."
