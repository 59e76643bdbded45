"""Objects in S3, and in what speaks its protocol, that are encrypted before they leave (extra `keystead[s3]`).

    objects = EncryptedS3(boto3.client("s3"), client)
    objects.upload_file("backup.tar", "archive", "2026/backup.tar")
    objects.get_object(Bucket="archive", Key="2026/backup.tar", Range="bytes=0-511")["Body"].read()

Names and parameters are boto3's. An object is one message of docs/encryption-sdk-format.md, bound to its bucket and key: under
another name it is refused. docs/integrations.md says what is protected and what is not.
"""

import copy
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.response import StreamingBody

from keystead.encryption import frames
from keystead.encryption.client import FRAME_BYTES, Client, Place, Sink, Source, replacing
from keystead.encryption.errors import Damaged
from keystead.encryption.file_objects import MessageReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LOCATION: Final = "s3-object"
"""The name in the context under which a message has its bucket and key."""
MARK: Final = {"keystead-encrypted": "1"}
"""Metadata of every encrypted object, for people and inventories. Nothing is decided by it."""

_LONGEST_LOCATION: Final = 512
_FIRST_BYTES: Final = FRAME_BYTES + (1 << 15)
_ATTEMPTS: Final = 5
_MOST_PARTS: Final = 10_000
_LONGEST_HEADER: Final = 1 << 16
_FRAME_OVERHEAD: Final = 128
_CUT: Final = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_KEPT: Final = (
    "BucketKeyEnabled",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "Metadata",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
    "WebsiteRedirectLocation",
)
"""What a copy keeps of its source, and a healed object of itself."""


class EncryptedS3:
    """Encrypted objects by a boto3 S3 client (`s3`) and an Encryption SDK client. Threads may share it.

    - `context`: pairs that every object gets, and must have, beside its location.
    - `bound_as`: for buckets that are copies, byte by byte, of others (replication, a restored backup): the name of the
      bucket in which the objects were written, by the name of the bucket in which they are.

    Errors: those of the client (Damaged and WrongContext also for objects that are not encrypted or are another's), and botocore's.
    """

    def __init__(
        self,
        s3: Any,
        client: Client,
        context: Mapping[str, str] | None = None,
        *,
        bound_as: Mapping[str, str] | None = None,
    ) -> None:
        self._s3 = s3
        self._client = client
        self._context = dict(context or {})
        self._bound_as = dict(bound_as or {})

    def put_object(
        self,
        *,
        Bucket: str,
        Key: str,
        Body: bytes | bytearray | memoryview | Source = b"",
        **parameters: Any,
    ) -> dict[str, Any]:
        """As boto3's; its answer. The message of a `Body` that is a file waits in a temporary file, encrypted.

        Raises ValueError for checksums and lengths of the plaintext.
        """
        extra = _marked(parameters)
        context = self._bound(Bucket, Key)
        answer: dict[str, Any]
        if isinstance(Body, bytes | bytearray | memoryview):
            message = self._client.encrypt(bytes(Body), context)
            answer = self._s3.put_object(Bucket=Bucket, Key=Key, Body=message, **extra)
            return answer
        with tempfile.TemporaryFile() as file:
            self._client.encrypt_stream(Body, file, context)
            file.seek(0)
            answer = self._s3.put_object(Bucket=Bucket, Key=Key, Body=file, **extra)
        return answer

    def get_object(
        self, *, Bucket: str, Key: str, Range: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """As boto3's: its answer, where Body, ContentLength and ContentRange are those of the plaintext.

        When it returns, header and length are authentic, and the signature of a signed object is checked, for which all of it
        is fetched; a read of Body gives what is authentic or raises Damaged. ETag is that of the message.
        """
        answer, reader = self._open(Bucket, Key, parameters)
        length = reader.seek(0, io.SEEK_END)
        begin, end = 0, length
        if Range is not None:
            try:
                begin, end = _positions(Range, length)
            except BaseException:
                reader.close()
                raise
        reader.seek(begin)
        body = io.BufferedReader(_Part(reader, end - begin), FRAME_BYTES)
        shown = {name: value for name, value in answer.items() if not name.startswith("Checksum")}
        shown |= {"Body": StreamingBody(body, end - begin), "ContentLength": end - begin}
        shown.pop("ContentRange", None)
        if Range is not None:
            shown["ContentRange"] = f"bytes {begin}-{end - 1}/{length}"
        return shown

    def open(self, *, Bucket: str, Key: str, **parameters: Any) -> "io.BufferedReader[MessageReader]":
        """A file object on an object of any size: a position that is sought costs one request, reading on none.

        What is checked when is said at `MessageReader`. Where the object is replaced meanwhile, reads raise ClientError (412).
        """
        _, reader = self._open(Bucket, Key, parameters)
        return io.BufferedReader(reader, FRAME_BYTES)

    def upload_fileobj(
        self,
        Fileobj: Source,
        Bucket: str,
        Key: str,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], object] | None = None,
        Config: TransferConfig | None = None,
    ) -> None:
        """As boto3's, of a stream of any length; `Callback` counts bytes of the message. The object appears complete or not at all.

        Memory: `Config.max_in_memory_upload_chunks` + 1 parts; without `Config` 5 of 8 MiB, and at most 10,000 of them (78 GiB).
        """
        self._upload(Fileobj, Bucket, Key, self._bound(Bucket, Key), ExtraArgs, Callback, Config, None)

    def upload_file(
        self,
        Filename: Place,
        Bucket: str,
        Key: str,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], object] | None = None,
        Config: TransferConfig | None = None,
    ) -> None:
        """As `upload_fileobj`, of a file; parts are as long as it takes to have at most 10,000."""
        with Path(Filename).open("rb") as file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            self._upload(file, Bucket, Key, self._bound(Bucket, Key), ExtraArgs, Callback, Config, length)

    def download_fileobj(
        self,
        Bucket: str,
        Key: str,
        Fileobj: Sink,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], object] | None = None,
    ) -> None:
        """As boto3's, in one stream; `Callback` counts bytes of the plaintext.

        What was written is authentic, but incomplete if this raises.
        """
        _, reader = self._open(Bucket, Key, dict(ExtraArgs or {}))
        with reader:
            while piece := reader.read(FRAME_BYTES):
                frames.copy((piece,), Fileobj)
                if Callback is not None:
                    Callback(len(piece))

    def download_file(
        self,
        Bucket: str,
        Key: str,
        Filename: Place,
        ExtraArgs: Mapping[str, Any] | None = None,
        Callback: Callable[[int], object] | None = None,
    ) -> None:
        """As `download_fileobj`, to a file of mode 0600 that appears when it is complete."""
        with replacing(Filename) as file:
            self.download_fileobj(Bucket, Key, file, ExtraArgs, Callback)

    def copy(
        self,
        CopySource: Mapping[str, str],
        Bucket: str,
        Key: str,
        ExtraArgs: Mapping[str, Any] | None = None,
        Config: TransferConfig | None = None,
    ) -> None:
        """Decrypt an object and encrypt it under another name, through here; S3's own copy would not open there.

        Its context, metadata, content type and storage class go with it unless ExtraArgs says otherwise; tags and ACLs do not. To
        rename, delete the source afterwards.
        """
        source = dict(CopySource)
        answer, reader = self._open(source.pop("Bucket"), source.pop("Key"), source)
        with reader:
            length = reader.seek(0, io.SEEK_END)
            reader.seek(0)
            context = reader.context | self._bound(Bucket, Key)
            extra = _kept(answer) | dict(ExtraArgs or {})
            self._upload(reader, Bucket, Key, context, extra, None, Config, length)

    def heal(
        self,
        *,
        Bucket: str,
        Key: str,
        ExtraArgs: Mapping[str, Any] | None = None,
        Config: TransferConfig | None = None,
    ) -> int:
        """`Client.heal`: add an EDK for each CMK that the object lacks; how many were added. Nothing is decrypted.

        Where none is lacking, that is one small request. Otherwise the object is written anew, through a temporary file that
        holds the message, and only if it is still the same: ClientError (412, PreconditionFailed) says that it has been replaced.
        What it keeps is what a copy keeps.
        """
        source = _Object(self._s3, {"Bucket": Bucket, "Key": Key})
        try:
            if not self._client.missing(source.first):
                return 0
            with tempfile.TemporaryFile() as file:
                added = self._client.heal_stream(source, file)
                if added:
                    extra = _marked({**_kept(source.answer), **(ExtraArgs or {})})
                    parameters = {"Bucket": Bucket, "Key": Key}
                    self._replace(file, parameters, extra, source.answer["ETag"], Config or TransferConfig())
        finally:
            source.close()
        return added

    def _bound(self, bucket: str, key: str) -> dict[str, str]:
        if LOCATION in self._context:
            raise ValueError(f"The name {LOCATION} of a context belongs to the location of the object.")
        location = f"{self._bound_as.get(bucket, bucket)}/{key}"
        if len(json.dumps(location, ensure_ascii=False)) > _LONGEST_LOCATION:
            # KMS takes 1024 characters for the whole context, and a key alone may have as many.
            location = "sha256:" + hashlib.sha256(location.encode()).hexdigest()
        return self._context | {LOCATION: location}

    def _open(
        self, bucket: str, key: str, parameters: dict[str, Any]
    ) -> tuple[dict[str, Any], MessageReader]:
        if not {"PartNumber", "Range"}.isdisjoint(parameters):
            raise ValueError("A part of an object is asked for by get_object(Range=...) or open().")
        source = _Object(self._s3, {"Bucket": bucket, "Key": key, **parameters})
        with ExitStack() as failed:
            failed.callback(source.close)
            reader = self._client.reader(source, self._bound(bucket, key))
            failed.pop_all()
        return source.answer, reader

    def _upload(
        self,
        source: Source,
        bucket: str,
        key: str,
        context: dict[str, str],
        extra: Mapping[str, Any] | None,
        callback: Callable[[int], object] | None,
        config: TransferConfig | None,
        length: int | None,
    ) -> None:
        if config is None:
            config = TransferConfig()
            config.max_in_memory_upload_chunks = 4
        if length is not None:
            frame = self._client.frame_bytes
            longest = _LONGEST_HEADER + (length // frame + 1) * (frame + _FRAME_OVERHEAD)
            config = copy.copy(config)
            config.multipart_chunksize = max(config.multipart_chunksize, -(-longest // _MOST_PARTS))
        marked = _marked(extra or {})
        message = io.BufferedReader(_Pieces(self._client.pieces(source, context, length=length)))
        self._s3.upload_fileobj(message, bucket, key, ExtraArgs=marked, Callback=callback, Config=config)

    def _replace(
        self,
        file: BinaryIO,
        place: dict[str, Any],
        extra: dict[str, Any],
        etag: str,
        config: TransferConfig,
    ) -> None:
        """Write the object, unless it is another one than before. The transfer manager has no conditions."""
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if size < config.multipart_threshold:
            self._s3.put_object(**place, **extra, Body=file, IfMatch=etag)
            return
        part_bytes = max(config.multipart_chunksize, -(-size // _MOST_PARTS))
        upload = self._s3.create_multipart_upload(**place, **extra)
        place = place | {"UploadId": upload["UploadId"]}
        try:
            parts: list[dict[str, Any]] = []
            while piece := file.read(part_bytes):
                number = len(parts) + 1
                answer = self._s3.upload_part(**place, PartNumber=number, Body=piece)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._s3.complete_multipart_upload(**place, MultipartUpload={"Parts": parts}, IfMatch=etag)
        except BaseException:
            with suppress(Exception):  # why it failed is what the caller has to know
                self._s3.abort_multipart_upload(**place)
            raise


class _Object:
    """The message in an object, as a file that can be sought: one version of it, whatever happens in the bucket meanwhile."""

    def __init__(self, s3: Any, parameters: dict[str, Any]) -> None:
        self._s3, self._parameters = s3, parameters
        self._position = 0
        try:
            self.answer: Final[dict[str, Any]] = s3.get_object(
                **parameters, Range=f"bytes=0-{_FIRST_BYTES - 1}"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidRange":
                raise Damaged from None  # it is empty
            raise
        self._parameters["IfMatch"] = self.answer["ETag"]
        if "VersionId" in self.answer:
            self._parameters["VersionId"] = self.answer["VersionId"]
        # "bytes 0-99/1234"; a storage that knows no ranges has sent everything.
        self._size = int(
            self.answer.get("ContentRange", f"/{self.answer['ContentLength']}").rpartition("/")[2]
        )
        self._body: StreamingBody | None = self.answer["Body"]
        self._body_at = 0
        first = b""
        while len(first) < min(self._size, _FIRST_BYTES):
            first += self._fetch(len(first), _FIRST_BYTES - len(first))
        self.first: Final = first
        """The header, and all of a small object."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        )
        return self._position

    def read(self, size: int, /) -> bytes:
        size = min(size, self._size - self._position)
        if size <= 0:
            return b""
        begin = self._position
        piece = self.first[begin : begin + size] or self._fetch(begin, size)
        self._position += len(piece)
        return piece

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _fetch(self, position: int, size: int) -> bytes:
        """At least one byte, from the open answer if it goes on here. An answer that breaks off is asked for again from there."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                if self._body is None or self._body_at != position:
                    self.close()
                    self._body = self._s3.get_object(**self._parameters, Range=f"bytes={position}-")["Body"]
                    self._body_at = position
                piece: bytes = self._body.read(size)
            except _CUT:
                if not left:
                    self.close()
                    raise
                piece = b""
            if piece:
                self._body_at += len(piece)
                return piece
            self.close()
        raise Damaged


class _Part(io.RawIOBase):
    """So many bytes of a reader from where it stands, which is closed with this."""

    def __init__(self, reader: MessageReader, length: int) -> None:
        super().__init__()
        self._reader = reader
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        taken = self._reader.readinto(memoryview(buffer).cast("B")[: self._left])
        self._left -= taken
        return taken

    def close(self) -> None:
        self._reader.close()
        super().close()


class _Pieces(io.RawIOBase):
    """A message that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        super().__init__()
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        view = memoryview(buffer).cast("B")
        taken = min(len(view), len(self._piece))
        view[:taken] = self._piece[:taken]
        self._piece = self._piece[taken:]
        return taken


def _positions(wanted: str, length: int) -> tuple[int, int]:
    """Begin and end of a range (RFC 9110, 14.1.2) in so many bytes."""
    found = _RANGE.fullmatch(wanted)
    if found is None or not any(found.groups()):
        raise ValueError("A range is bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH.")
    first, last = found.groups()
    begin = int(first) if first else max(length - int(last), 0)
    end = min(int(last) + 1, length) if first and last else length
    if begin >= end:
        raise ClientError(
            {"Error": {"Code": "InvalidRange", "Message": "The object has no bytes in this range."}},
            "GetObject",
        )
    return begin, end


def _marked(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to S3 with a message."""
    for name in extra:
        if name in ("ContentLength", "ContentMD5") or (
            name.startswith("Checksum") and name not in ("ChecksumAlgorithm", "ChecksumType")
        ):
            raise ValueError(f"{name} would be that of the plaintext, which is not for the storage to know.")
    return {**extra, "Metadata": {**extra.get("Metadata", {}), **MARK}}


def _kept(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _KEPT if name in answer}
