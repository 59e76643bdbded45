"""Encrypted objects, by boto3 and moto's server: bound to their place, in bounded memory, refused where they were changed."""

import hashlib
import io
import secrets
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import BotoCoreError, ClientError

from keystead.encryption import CacheLimits, Client, Damaged, KeysUnavailable, Suite, WrongContext
from keystead.integrations.s3 import LOCATION, EncryptedS3

from ..encryption.fakes import BACKUP, PRIMARY, STRONG, MemoryKms
from .storage import BreakingLine, Storage

FRAME = 1 << 17
KMS = MemoryKms()


class Bucket:
    """A bucket of one test, and what was asked of it."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.name = f"b-{secrets.token_hex(8)}"
        self.s3 = storage.client()
        self.s3.create_bucket(Bucket=self.name)
        self.calls: Counter[str] = Counter()
        self.s3.meta.events.register("before-call.s3", self._count)

    def _count(self, model: Any, **_: Any) -> None:
        self.calls[model.name] += 1

    def objects(self, one: Client | None = None, **options: Any) -> EncryptedS3:
        return EncryptedS3(self.s3, one or Client(KMS, PRIMARY), **options)

    def message(self, key: str) -> bytes:
        read: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return read

    def keys(self) -> list[str]:
        return [each["Key"] for each in self.s3.list_objects_v2(Bucket=self.name).get("Contents", [])]


@pytest.fixture
def bucket(storage: Storage) -> Iterator[Bucket]:
    one = Bucket(storage)
    yield one
    one.s3.close()


@pytest.mark.parametrize("suite", STRONG, ids=lambda suite: suite.name)
@pytest.mark.parametrize("length", [0, 100, 350])
def test_put_and_get(bucket: Bucket, suite: Suite, length: int) -> None:
    objects = bucket.objects(Client(KMS, PRIMARY, suite=suite, frame_bytes=100), context={"app": "shop"})
    plaintext = secrets.token_bytes(length)
    for body in (plaintext, io.BytesIO(plaintext)):
        objects.put_object(
            Bucket=bucket.name, Key="a/b", Body=body, ContentType="text/x", Metadata={"by": "me"}
        )
        assert plaintext not in bucket.message("a/b") or not plaintext
        found = objects.get_object(Bucket=bucket.name, Key="a/b")
        assert found["ContentLength"] == length
        assert "ContentRange" not in found
        assert found["ContentType"] == "text/x"
        assert found["Metadata"] == {"by": "me", "keystead-encrypted": "1"}
        assert found["Body"].read() == plaintext


def test_the_body_is_botocores(bucket: Bucket) -> None:
    objects = bucket.objects()
    lines = [b"line %d" % n for n in range(50_000)]
    objects.put_object(Bucket=bucket.name, Key="k", Body=b"\n".join(lines))
    get = {"Bucket": bucket.name, "Key": "k"}
    assert list(objects.get_object(**get)["Body"].iter_lines()) == lines
    assert b"".join(objects.get_object(**get)["Body"].iter_chunks(1000)) == b"\n".join(lines)
    with objects.get_object(**get)["Body"] as body:
        assert body.read(6) == b"line 0"
    assert body.closed


def test_ranges(bucket: Bucket) -> None:
    plaintext = secrets.token_bytes(1000)
    for suite in (Suite.SM4_GCM, Suite.AES_256_GCM_SIGNED):
        objects = bucket.objects(Client(KMS, PRIMARY, suite=suite, frame_bytes=64))
        objects.put_object(Bucket=bucket.name, Key="k", Body=plaintext)
        for wanted, begin, end in (
            ("bytes=0-0", 0, 1),
            ("bytes=60-70", 60, 71),
            ("bytes=64-", 64, 1000),
            ("bytes=900-5000", 900, 1000),
            ("bytes=-70", 930, 1000),
            ("bytes=-5000", 0, 1000),
        ):
            found = objects.get_object(Bucket=bucket.name, Key="k", Range=wanted)
            assert found["ContentRange"] == f"bytes {begin}-{end - 1}/1000"
            assert found["ContentLength"] == end - begin
            assert found["Body"].read() == plaintext[begin:end]
    for wanted in ("bytes=1000-", "bytes=1000-1001", "bytes=-0"):
        with pytest.raises(ClientError, match="InvalidRange"):
            objects.get_object(Bucket=bucket.name, Key="k", Range=wanted)
    for wanted in ("bytes=", "bytes=-", "0-1", "bytes=0-1,3-4", "bytes=a-b"):
        with pytest.raises(ValueError, match="range"):
            objects.get_object(Bucket=bucket.name, Key="k", Range=wanted)
    with pytest.raises(ValueError, match="part"):
        objects.get_object(Bucket=bucket.name, Key="k", PartNumber=1)


def test_an_object_opens_in_its_place_alone(bucket: Bucket) -> None:
    objects = bucket.objects(context={"app": "shop"})
    objects.put_object(Bucket=bucket.name, Key="mine", Body=b"1")
    objects.put_object(Bucket=bucket.name, Key="yours", Body=b"2")
    bucket.s3.copy_object(Bucket=bucket.name, Key="yours", CopySource=f"{bucket.name}/mine")
    with pytest.raises(WrongContext):
        objects.get_object(Bucket=bucket.name, Key="yours")
    other = Bucket(bucket.storage)
    bucket.s3.copy_object(Bucket=other.name, Key="mine", CopySource=f"{bucket.name}/mine")
    with pytest.raises(WrongContext):
        objects.get_object(Bucket=other.name, Key="mine")
    replica = bucket.objects(context={"app": "shop"}, bound_as={other.name: bucket.name})
    assert replica.get_object(Bucket=other.name, Key="mine")["Body"].read() == b"1"
    with pytest.raises(WrongContext):
        bucket.objects(context={"app": "bank"}).get_object(Bucket=bucket.name, Key="mine")
    with pytest.raises(ValueError, match=LOCATION):
        bucket.objects(context={LOCATION: "x"}).put_object(Bucket=bucket.name, Key="k")
    other.s3.close()


def test_long_keys_are_bound_by_their_hash(bucket: Bucket) -> None:
    objects = bucket.objects()
    one, two = ("k" * 1000 + end for end in "12")  # S3 takes 1024 bytes
    objects.put_object(Bucket=bucket.name, Key=one, Body=b"long")
    assert objects.get_object(Bucket=bucket.name, Key=one)["Body"].read() == b"long"
    bucket.s3.put_object(Bucket=bucket.name, Key=two, Body=bucket.message(one))
    with pytest.raises(WrongContext):
        objects.get_object(Bucket=bucket.name, Key=two)
    with objects.open(Bucket=bucket.name, Key=one) as file:
        digest = hashlib.sha256(f"{bucket.name}/{one}".encode()).hexdigest()
        assert file.raw.context == {LOCATION: f"sha256:{digest}"}


def test_what_is_not_a_message_is_damaged(bucket: Bucket) -> None:
    objects = bucket.objects(Client(KMS, PRIMARY, frame_bytes=100))
    for body in (b"", b"plain", bytes(200_000)):
        bucket.s3.put_object(Bucket=bucket.name, Key="k", Body=body)
        with pytest.raises(Damaged):
            objects.get_object(Bucket=bucket.name, Key="k")
    with pytest.raises(ClientError, match="NoSuchKey"):
        objects.get_object(Bucket=bucket.name, Key="none")


@pytest.mark.parametrize("suite", [Suite.AES_256_GCM, Suite.SM4_GCM_SIGNED])
def test_what_was_cut_or_changed_is_refused_before_anything_is_given(bucket: Bucket, suite: Suite) -> None:
    one = Client(KMS, PRIMARY, suite=suite, cache=CacheLimits())
    objects = bucket.objects(one)
    plaintext = secrets.token_bytes(3 * FRAME + 5)
    objects.put_object(Bucket=bucket.name, Key="k", Body=plaintext)
    whole = bucket.message("k")
    step = FRAME + 20
    for cut in (1, 64, 25 + 64 * suite.signed, step, len(whole) - step, len(whole) - 10):
        bucket.s3.put_object(Bucket=bucket.name, Key="k", Body=whole[:-cut])
        with pytest.raises(Damaged):
            objects.get_object(Bucket=bucket.name, Key="k")
    for at in (5, 300, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        bucket.s3.put_object(Bucket=bucket.name, Key="k", Body=bytes(changed))
        sink = io.BytesIO()
        with pytest.raises((Damaged, KeysUnavailable)):
            objects.download_fileobj(bucket.name, "k", sink)
        # A frame that was changed in an unsigned message is found when it is there; none before it is wrong.
        assert sink.getvalue() == (plaintext[:FRAME] if at == len(whole) // 2 and not suite.signed else b"")


def test_plaintext_checksums_are_not_sent(bucket: Bucket) -> None:
    objects = bucket.objects()
    for name in ("ContentMD5", "ChecksumSHA256", "ContentLength"):
        with pytest.raises(ValueError, match=name):
            objects.put_object(Bucket=bucket.name, Key="k", Body=b"1", **{name: "x"})
        with pytest.raises(ValueError, match=name):
            objects.upload_fileobj(io.BytesIO(), bucket.name, "k", ExtraArgs={name: "x"})
    objects.put_object(Bucket=bucket.name, Key="k", Body=b"1", ChecksumAlgorithm="SHA256")
    found = objects.get_object(Bucket=bucket.name, Key="k", ChecksumMode="ENABLED")
    assert not [name for name in found if name.startswith("Checksum")]


def test_files_and_streams(bucket: Bucket, tmp_path: Path) -> None:
    kms = MemoryKms()
    objects = bucket.objects(Client(kms, PRIMARY, suite=Suite.AES_256_GCM_SIGNED, cache=CacheLimits()))
    config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)
    plaintext = secrets.token_bytes(12 << 20)
    (tmp_path / "plain").write_bytes(plaintext)
    told: list[int] = []
    objects.upload_file(
        tmp_path / "plain",
        bucket.name,
        "file",
        ExtraArgs={"ContentType": "text/x"},
        Callback=told.append,
        Config=config,
    )
    assert bucket.calls["UploadPart"] == 3
    message = bucket.message("file")
    assert sum(told) == len(message)
    told.clear()
    objects.download_file(bucket.name, "file", tmp_path / "back", Callback=told.append)
    assert sum(told) == len(plaintext)
    assert (tmp_path / "back").read_bytes() == plaintext
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o600
    head = bucket.s3.head_object(Bucket=bucket.name, Key="file")
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"keystead-encrypted": "1"})
    objects.upload_fileobj(io.BytesIO(b"small"), bucket.name, "small")
    sink = io.BytesIO()
    objects.download_fileobj(bucket.name, "small", sink)
    assert sink.getvalue() == b"small"
    bucket.s3.put_object(Bucket=bucket.name, Key="small", Body=message)
    with pytest.raises(WrongContext):
        objects.download_file(bucket.name, "small", tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "plain"]
    assert (tmp_path / "back").read_bytes() == plaintext


def test_an_upload_that_fails_leaves_nothing(bucket: Bucket) -> None:
    class Failing(io.RawIOBase):
        left = 20 << 20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            self.left -= len(buffer)
            if self.left < 0:
                raise OSError("the disk is gone")
            return len(buffer)

    with pytest.raises(OSError, match="gone"):
        bucket.objects().upload_fileobj(Failing(), bucket.name, "k")
    assert bucket.calls["AbortMultipartUpload"] == 1
    kms = MemoryKms()
    kms.down = {PRIMARY.region}
    with pytest.raises(KeysUnavailable):
        bucket.objects(Client(kms, PRIMARY)).upload_fileobj(io.BytesIO(b"1"), bucket.name, "k")
    assert bucket.keys() == []
    assert not bucket.s3.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


def test_parts_are_as_long_as_a_file_needs(tmp_path: Path) -> None:
    """10,000 parts are the most that S3 takes; the file here has holes, and S3 is asked for nothing."""

    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    found: list[int] = []

    class Recording:
        def upload_fileobj(self, *_: Any, Config: TransferConfig, **__: Any) -> None:  # noqa: N803 - boto3's
            found.append(Config.multipart_chunksize)

    given = TransferConfig()
    EncryptedS3(Recording(), Client(KMS, PRIMARY)).upload_file(path, "b", "k", Config=given)
    frames = (1 << 40) // FRAME + 1
    assert found[0] * 10_000 >= 1000 + frames * (FRAME + 20)
    assert given.multipart_chunksize == 8 << 20


def test_a_file_object_reads_anywhere_with_few_requests(bucket: Bucket) -> None:
    plaintext = secrets.token_bytes(5_000_000)
    objects = bucket.objects()
    objects.put_object(Bucket=bucket.name, Key="big", Body=plaintext)
    objects.put_object(Bucket=bucket.name, Key="small", Body=plaintext[:1000])
    bucket.calls.clear()
    with objects.open(Bucket=bucket.name, Key="small") as file:
        assert file.read() == plaintext[:1000]
    assert bucket.calls["GetObject"] == 1
    bucket.calls.clear()
    with objects.open(Bucket=bucket.name, Key="big") as file:
        assert bucket.calls["GetObject"] == 2
        assert file.read() == plaintext
        assert bucket.calls["GetObject"] == 3
        for at in (4_000_000, 1_000_000, 10):
            file.seek(at)
            assert file.read(20) == plaintext[at : at + 20]
        assert bucket.calls["GetObject"] == 5  # the beginning is still there
        file.seek(-3, io.SEEK_END)
        assert file.read() == plaintext[-3:]


def test_an_object_that_is_replaced_while_it_is_read(bucket: Bucket) -> None:
    objects = bucket.objects()
    objects.put_object(Bucket=bucket.name, Key="k", Body=bytes(1_000_000))
    with objects.open(Bucket=bucket.name, Key="k") as file:
        objects.put_object(Bucket=bucket.name, Key="k", Body=b"1" * 1_000_000)
        file.seek(500_000)
        with pytest.raises(ClientError, match="PreconditionFailed"):
            file.read(10)
    bucket.s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    first = objects.put_object(Bucket=bucket.name, Key="v", Body=bytes(1_000_000))["VersionId"]
    with objects.open(Bucket=bucket.name, Key="v") as file:
        objects.put_object(Bucket=bucket.name, Key="v", Body=b"1")
        assert file.read() == bytes(1_000_000)
    assert objects.get_object(Bucket=bucket.name, Key="v")["Body"].read() == b"1"
    assert objects.get_object(Bucket=bucket.name, Key="v", VersionId=first)["ContentLength"] == 1_000_000


def test_copies_are_encrypted_for_their_new_place(bucket: Bucket) -> None:
    objects = bucket.objects(context={"app": "shop"})
    objects.put_object(
        Bucket=bucket.name, Key="from", Body=b"of a copy", ContentType="text/x", Metadata={"a": "b"}
    )
    bucket.objects().copy({"Bucket": bucket.name, "Key": "from"}, bucket.name, "to")
    found = objects.get_object(Bucket=bucket.name, Key="to")
    assert found["Body"].read() == b"of a copy"
    assert found["ContentType"] == "text/x"
    assert found["Metadata"] == {"a": "b", "keystead-encrypted": "1"}
    with objects.open(Bucket=bucket.name, Key="to") as file:
        assert file.raw.context == {"app": "shop", LOCATION: f"{bucket.name}/to"}
    with pytest.raises(WrongContext):
        bucket.objects(context={"app": "bank"}).copy({"Bucket": bucket.name, "Key": "to"}, bucket.name, "3")
    objects.copy({"Bucket": bucket.name, "Key": "to"}, bucket.name, "to", ExtraArgs={"ContentType": "text/y"})
    assert objects.get_object(Bucket=bucket.name, Key="to")["ContentType"] == "text/y"


@pytest.mark.parametrize("threshold", [5 << 20, 64 << 20])
def test_heal(bucket: Bucket, threshold: int) -> None:
    kms = MemoryKms()
    one = Client(kms, PRIMARY, [BACKUP])
    objects = bucket.objects(one)
    config = TransferConfig(multipart_threshold=threshold, multipart_chunksize=5 << 20)
    plaintext = secrets.token_bytes(11 << 20)
    where: dict[str, Any] = {"Bucket": bucket.name, "Key": "k"}
    kms.down = {BACKUP.region}
    objects.put_object(**where, Body=plaintext, ContentType="text/x", Metadata={"a": "b"})
    assert objects.heal(**where, Config=config) == 0
    etag = bucket.s3.head_object(**where)["ETag"]
    kms.down = set()
    assert objects.heal(**where, Config=config) == 1
    assert bucket.calls["UploadPart"] == (3 if threshold < len(plaintext) else 0)
    head = bucket.s3.head_object(**where)
    assert head["ETag"] != etag
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"a": "b", "keystead-encrypted": "1"})
    bucket.calls.clear()
    assert objects.heal(**where) == 0
    assert bucket.calls == {"GetObject": 1}
    kms.down = {PRIMARY.region}
    assert objects.get_object(**where)["Body"].read() == plaintext


@pytest.mark.parametrize("threshold", [5 << 20, 64 << 20])
def test_heal_does_not_write_over_what_came_meanwhile(bucket: Bucket, threshold: int) -> None:
    kms = MemoryKms()
    kms.down = {BACKUP.region}
    objects = bucket.objects(Client(kms, PRIMARY, [BACKUP]))
    where: dict[str, Any] = {"Bucket": bucket.name, "Key": "k"}
    objects.put_object(**where, Body=bytes(6 << 20))
    kms.down = set()
    writes: list[str] = []

    def meanwhile(model: Any, **_: Any) -> None:
        if not writes:
            writes.append(model.name)
            objects.put_object(**where, Body=b"newer")

    def refuse(params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]] | None:
        """What moto lacks: the condition of CompleteMultipartUpload."""
        if params["headers"]["If-Match"] == bucket.s3.head_object(**where)["ETag"]:
            return None
        error = {"Code": "PreconditionFailed", "Message": "If-Match"}
        return AWSResponse("", 412, HTTPHeaders(), None), {"Error": error}

    for operation in ("PutObject", "CompleteMultipartUpload"):
        bucket.s3.meta.events.register(f"before-call.s3.{operation}", meanwhile)
    bucket.s3.meta.events.register_last("before-call.s3.CompleteMultipartUpload", refuse)
    config = TransferConfig(multipart_threshold=threshold, multipart_chunksize=5 << 20)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        objects.heal(**where, Config=config)
    assert len(writes) == 1
    assert objects.get_object(**where)["Body"].read() == b"newer"
    assert not bucket.s3.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


def test_why_healing_failed_is_told_although_the_parts_stay(bucket: Bucket) -> None:
    kms = MemoryKms()
    where: dict[str, Any] = {"Bucket": bucket.name, "Key": "k"}
    bucket.objects(Client(kms, PRIMARY)).put_object(**where, Body=bytes(6 << 20))

    refused: list[str] = []

    def refuse(status: int, code: str) -> Any:
        def answer(**_: Any) -> tuple[Any, dict[str, Any]]:
            refused.append(code)
            return AWSResponse("", status, HTTPHeaders(), None), {"Error": {"Code": code}}

        return answer

    events = bucket.s3.meta.events
    events.register("before-call.s3.CompleteMultipartUpload", refuse(412, "PreconditionFailed"))
    events.register("before-call.s3.AbortMultipartUpload", refuse(403, "AccessDenied"))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.objects(Client(kms, PRIMARY, [BACKUP])).heal(**where, Config=config)
    assert refused == ["PreconditionFailed", "AccessDenied"]


def test_a_healed_object_keeps_its_mark(bucket: Bucket) -> None:
    kms = MemoryKms()
    where: dict[str, Any] = {"Bucket": bucket.name, "Key": "k"}
    bucket.objects(Client(kms, PRIMARY)).put_object(**where, Body=b"1")
    both = bucket.objects(Client(kms, PRIMARY, [BACKUP]))
    assert both.heal(**where, ExtraArgs={"Metadata": {"a": "b"}}) == 1
    assert bucket.s3.head_object(**where)["Metadata"] == {"a": "b", "keystead-encrypted": "1"}


@pytest.mark.parametrize("breaks", [3, 1000])
def test_lines_that_break(bucket: Bucket, breaks: int) -> None:
    """Reading goes on where it was; after five attempts without a byte it ends in botocore's error."""
    plaintext = secrets.token_bytes(4_000_000)
    bucket.objects().put_object(Bucket=bucket.name, Key="k", Body=plaintext)
    line = BreakingLine(bucket.storage.port, 100_000 if breaks == 3 else 1000, breaks)
    s3 = bucket.storage.client(line.port)
    objects = EncryptedS3(s3, Client(KMS, PRIMARY))
    try:
        if breaks == 3:
            assert objects.get_object(Bucket=bucket.name, Key="k")["Body"].read() == plaintext
            assert line.breaks == 0
        else:
            with pytest.raises(BotoCoreError):
                objects.get_object(Bucket=bucket.name, Key="k")
    finally:
        s3.close()
        line.close()


class Zeros(io.RawIOBase):
    """So many zeros."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        taken = min(self.left, len(buffer))
        memoryview(buffer).cast("B")[:taken] = bytes(taken)
        self.left -= taken
        return taken


class Counting:
    """A sink that keeps nothing."""

    taken = 0

    def write(self, data: bytes, /) -> int:
        self.taken += len(data)
        return len(data)


def test_memory_is_bounded(bucket: Bucket) -> None:
    size = 100 << 20
    objects = bucket.objects()
    tracemalloc.start()
    try:
        objects.upload_fileobj(Zeros(size), bucket.name, "k")
        _, of_upload = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        sink = Counting()
        objects.download_fileobj(bucket.name, "k", sink)
        _, of_download = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.taken == size
    assert of_upload < 64 << 20
    assert of_download < 8 << 20
