"""Finds the handler of an action: the folders under `chalicelib/actions` are the registry."""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.actions import names
from chalicelib.errors import InvalidAction, NoSuchVersion, UnsupportedOperation
from chalicelib.params import Parameters

__all__ = ["SERVICES", "WHITE_BOX", "Action", "find", "names"]

SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "2019-01-18": ("kms",),
    "2019-09-23": ("ssm",),
    "2019-01-16": ("cam",),
    "2018-08-13": ("sts", "tag"),
    "2019-03-19": ("cloudaudit",),
}
"""API version -> the services that have it. Versions tell services apart, hosts and scopes do not."""

WHITE_BOX: Final = frozenset(
    {
        "CreateWhiteBoxKey",
        "DeleteWhiteBoxKey",
        "DescribeWhiteBoxDecryptKey",
        "DescribeWhiteBoxDeviceFingerprints",
        "DescribeWhiteBoxKey",
        "DescribeWhiteBoxKeyDetails",
        "DescribeWhiteBoxServiceStatus",
        "DisableWhiteBoxKey",
        "DisableWhiteBoxKeys",
        "EnableWhiteBoxKey",
        "EnableWhiteBoxKeys",
        "EncryptByWhiteBox",
        "OverwriteWhiteBoxDeviceFingerprints",
    }
)
"""KMS actions that are refused: their key blobs have a proprietary format, so nothing made here could be read."""

_REGIONLESS: Final = frozenset({"GetRegions"})
_READ_PREFIXES: Final = (
    "Describe",
    "Get",
    "List",
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "Generate",
    "Sign",
    "Verify",
    "Asymmetric",
    "AssumeRole",
    "PostQuantum",
    "Query",
    "LookUp",
    "Simulate",
)


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its name, its handler and the handler's request model."""

    service: str
    name: str
    handler: Callable[..., dict[str, Any]]
    parameters: Parameters

    @property
    def needs_region(self) -> bool:
        """Whether the caller must say in which region to act."""
        return self.service in ("kms", "ssm") and self.name not in _REGIONLESS

    @property
    def is_unsigned(self) -> bool:
        """Whether the action also takes callers that have no key: it has another way to know them."""
        return (self.service, self.name) == ("sts", "AssumeRoleWithWebIdentity")

    @property
    def is_read(self) -> bool:
        """Whether the action changes nothing that lasts (CloudAudit's `actionType`)."""
        return self.name.startswith(_READ_PREFIXES)


@functools.cache
def _load(service: str, name: str) -> Action:
    module = names(service)[name]
    handler = getattr(importlib.import_module(f"chalicelib.actions.{service}.{module}"), module)
    return Action(service, name, handler, Parameters(handler))


def find(version: str, name: str) -> Action:
    """The action, imported on first use; raises NoSuchVersion or InvalidAction."""
    if version not in SERVICES:
        raise NoSuchVersion
    # The Python SDK upper-cases the first letter before it sends; hand-written clients may not.
    name = name[:1].upper() + name[1:]
    for service in SERVICES[version]:
        if name in names(service):
            return _load(service, name)
    if "kms" in SERVICES[version] and name in WHITE_BOX:
        raise UnsupportedOperation("White-box keys are not supported: their key format is not published.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,63}", name):
        raise InvalidAction("X-TC-Action is the name of an action, in letters and digits.")
    raise InvalidAction
