"""What several tests of CMKs need: a key in a state, calls of every action, tables that count or interfere."""

import base64
import json
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from chalicelib.clock import ManualClock
from chalicelib.context import IDENTITY
from chalicelib.settings import Settings
from chalicelib.table.port import Op, Row, Table
from chalicelib.table.sqlite import SqliteTable
from tests.actions.ssm.arrange import outputs
from tests.installation import SM, Client, Installation

DAY = 86400
STATES = ("Enabled", "Disabled", "PendingDelete", "PendingImport", "Archived")
UNKNOWN = "00000000-0000-1000-8000-000000000000"
MALFORMED = ("", "k", UNKNOWN.replace("0", "A"), UNKNOWN + "0", UNKNOWN.replace("-", ""), UNKNOWN + "\n")
CANARY = "k-canary-that-nobody-may-see"
PLAINTEXT = base64.b64encode(CANARY.encode()).decode()
BOUND = {"ProductId": "cbs", "ResourceId": "disk-1"}

ONE: dict[str, dict[str, Any]] = {
    "ArchiveKey": {},
    "BindCloudResource": BOUND,
    "CancelKeyArchive": {},
    "CancelKeyDeletion": {},
    "DescribeKey": {},
    "DisableKey": {},
    "DisableKeyRotation": {},
    "EnableKey": {},
    "EnableKeyRotation": {"RotateDays": 30},
    "Encrypt": {"Plaintext": PLAINTEXT},
    "GenerateDataKey": {"KeySpec": "AES_256"},
    "GetKeyRotationStatus": {},
    "ListKeyRotations": {},
    "RotateKey": {},
    "ScheduleKeyDeletion": {"PendingWindowInDays": 7},
    "UnbindCloudResource": BOUND,
    "UpdateAlias": {"Alias": "renamed"},
    "UpdateKeyDescription": {"Description": CANARY},
}
"""The actions on one key, with what each needs beside its id."""

MANY = ("DescribeKeys", "DisableKeys", "EnableKeys")
"""The actions on up to 100."""

BLOBS = ("Decrypt", "ReEncrypt")
"""The actions on a ciphertext, which names its key."""

OTHER: dict[str, dict[str, Any]] = {
    "CreateKey": {"Alias": "made", "Description": CANARY},
    "GenerateRandom": {"NumberOfBytes": 32},
    "GetRegions": {},
    "GetServiceStatus": {},
    "ListAlgorithms": {},
    "ListKeyDetail": {},
    "ListKeys": {},
}
ALL = (*ONE, *MANY, *BLOBS, *OTHER)
STATE_FOR = {
    "CancelKeyArchive": "Archived",
    "CancelKeyDeletion": "PendingDelete",
    "ScheduleKeyDeletion": "Disabled",
}
"""The state in which an action succeeds, where that is not Enabled."""


def make(kms: Client, alias: str = "k", state: str = "Enabled", **parameters: Any) -> str:
    """The id of a new key in a state; a pending one has 7 days left."""
    if state == "PendingImport":
        parameters = {"Type": 2, **parameters}
    key = str(kms.CreateKey(**{"Alias": alias, **parameters}).KeyId)
    bring_to(kms, key, state)
    return key


def bring_to(kms: Client, key: str, state: str) -> None:
    """Bring an enabled key to a state that needs no import."""
    if state in ("Disabled", "PendingDelete"):
        kms.DisableKey(KeyId=key)
    if state == "PendingDelete":
        kms.ScheduleKeyDeletion(KeyId=key, PendingWindowInDays=7)
    if state == "Archived":
        kms.ArchiveKey(KeyId=key)


def wrapped_material(kms: Client, key: str, material: bytes = b"sixteen bytes ok") -> dict[str, str]:
    """Parameters that import the material of an external key, wrapped as the customer does it."""
    given = kms.GetParametersForImport(
        KeyId=key, WrappingAlgorithm="RSAES_PKCS1_V1_5", WrappingKeySpec="RSA_2048"
    )
    public = load_der_public_key(base64.b64decode(given.PublicKey))
    assert isinstance(public, RSAPublicKey)
    wrapped = base64.b64encode(public.encrypt(material, padding.PKCS1v15())).decode()
    return {"KeyId": key, "EncryptedKeyMaterial": wrapped, "ImportToken": given.ImportToken}


def import_material(kms: Client, key: str, **parameters: Any) -> None:
    """Import the material of an external key."""
    kms.ImportKeyMaterial(**wrapped_material(kms, key), **parameters)


def product_key(kms: Client, ssm: Client) -> str:
    """The key that Secrets Manager makes for itself."""
    ssm.CreateSecret(SecretName="s", VersionId="v1", SecretString="x")
    (key,) = kms.ListKeys(Role=1).Keys
    return str(key.KeyId)


def parameters_of(action: str, key: str, blob: str = "") -> dict[str, Any]:
    """Parameters with which `action` succeeds for a key in the right state."""
    if action in ONE:
        return {"KeyId": key, **ONE[action]}
    if action in MANY:
        return {"KeyIds": [key]}
    return {"CiphertextBlob": blob} if action in BLOBS else OTHER[action]


def prepared(kms: Client, action: str) -> dict[str, Any]:
    """Make a key for which the action succeeds; the parameters of that call."""
    key = make(kms)
    blob = encrypt(kms, key) if action in BLOBS else ""
    if action == "RotateKey":
        kms.EnableKeyRotation(KeyId=key)
    if action == "UnbindCloudResource":
        kms.BindCloudResource(KeyId=key, **BOUND)
    bring_to(kms, key, STATE_FOR.get(action, "Enabled"))
    return parameters_of(action, key, blob)


def call(kms: Client, action: str, **given: Any) -> Any:
    """The call through the SDK's models, where it has them."""
    if not hasattr(kms.models, f"{action}Request"):
        return kms.call_raw(action, given)
    return getattr(kms, action)(**given)


def request_id(answer: Any) -> str:
    return str(answer["RequestId"] if isinstance(answer, dict) else answer.RequestId)


def describe(kms: Client, key: str) -> Any:
    return kms.DescribeKey(KeyId=key).KeyMetadata


def state_of(kms: Client, key: str) -> str:
    return str(describe(kms, key).KeyState)


def last_used(kms: Client, key: str) -> int:
    return int(kms.call_raw("DescribeKey", {"KeyId": key})["KeyMetadata"]["LastUsedTime"])


def encrypt(kms: Client, key: str, plaintext: bytes = CANARY.encode(), context: str = "") -> str:
    answer = kms.Encrypt(KeyId=key, Plaintext=base64.b64encode(plaintext).decode(), EncryptionContext=context)
    return str(answer.CiphertextBlob)


def decrypt(kms: Client, blob: str, context: str = "") -> bytes:
    answer = kms.Decrypt(CiphertextBlob=blob, EncryptionContext=context)
    return base64.b64decode(answer.Plaintext)


def rotate(installation: Installation, kms: Client, key: str, times: int = 1) -> None:
    """Rotate once a day, as often as that."""
    for _ in range(times):
        installation.clock.advance(DAY)
        kms.RotateKey(KeyId=key)


def aliases(kms: Client, **filters: Any) -> list[str]:
    return [m.Alias for m in kms.ListKeyDetail(**{"Limit": 200, **filters}).KeyMetadatas]


def quota(installation: Installation, region: str = SM) -> int:
    """How many keys count."""
    row = installation.service.table(region).get(f"CT#{installation.root.uin}#{region}", "keys")
    return row.number if row else 0


def everything(kms: Client) -> str:
    """All that the API shows of the keys of an account's region."""
    shown = [outputs(kms.ListKeyDetail(Limit=200, Role=role, KeyUsage="ALL", OrderType=1)) for role in (0, 1)]
    return json.dumps(shown, sort_keys=True)


class CountingTable(SqliteTable):
    """Counts calls."""

    reads = writes = 0

    def get(self, pk: str, sk: str) -> Row | None:
        self.reads += 1
        return super().get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        self.reads += 1
        return [SqliteTable.get(self, pk, sk) for pk, sk in keys]

    def write(self, ops: Sequence[Op]) -> None:
        self.writes += 1
        super().write(ops)

    def query(self, pk: str, **bounds: Any) -> list[Row]:
        self.reads += 1
        return super().query(pk, **bounds)


class Counted(Installation):
    """An installation whose first region's table counts."""

    counted: CountingTable

    def open_table(self, domain: str) -> Table:
        if domain == IDENTITY:
            return super().open_table(domain)
        table = CountingTable(":memory:", self.clock)
        if domain == SM:
            self.counted = table
        return table


class Shared(Installation):
    """An installation whose regions share one table, as on DynamoDB."""

    def __init__(self, clock: ManualClock, settings: Settings | None = None) -> None:
        self.shared = SqliteTable(":memory:", clock)
        super().__init__(clock, settings)

    def open_table(self, domain: str) -> Table:
        return super().open_table(domain) if domain == IDENTITY else self.shared
