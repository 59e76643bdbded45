"""A policy that can be attached: its versions, and what each action may do to them. Documents are kept apart."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from chalicelib.errors import PolicyVersionAlreadyDefault, PolicyVersionFull, PolicyVersionNotExists

MAX_POLICIES: Final = 1500
"""Custom policies of one account."""
MAX_VERSIONS: Final = 5
MAX_ATTACHED: Final = 200
"""Policies attached to one user, group or role."""

CUSTOM: Final = 1
PRESET: Final = 2


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy. Its document never changes: `digest` is the document's SHA-256."""

    id: int
    created_at: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedPolicy:
    """A policy without its documents."""

    id: int
    name: str
    description: str = ""
    type: int = CUSTOM
    created_at: int
    updated_at: int
    versions: tuple[PolicyVersion, ...]
    """In the order of their creation."""
    default_id: int = 1
    """The version that applies."""
    last_id: int = 1
    """The number of the newest version, deleted or not: none is given twice."""
    tags: Mapping[str, str] = field(default_factory=dict)
    row_version: int = field(default=0, compare=False)

    @classmethod
    def new(
        cls, policy_id: int, name: str, document: str, *, now: int, description: str, tags: Mapping[str, str]
    ) -> Self:
        """A custom policy with one version."""
        return cls(
            id=policy_id,
            name=name,
            description=description,
            created_at=now,
            updated_at=now,
            versions=(PolicyVersion(1, now, digest(document)),),
            tags=tags,
        )

    @property
    def default(self) -> PolicyVersion:
        """The version that applies."""
        return self.version(self.default_id)

    def version(self, version_id: int) -> PolicyVersion:
        """The version of that number; raises PolicyVersionNotExists."""
        for version in self.versions:
            if version.id == version_id:
                return version
        raise PolicyVersionNotExists

    def add_version(self, document: str, *, now: int, as_default: bool) -> Self:
        """With one more version; raises PolicyVersionFull."""
        if len(self.versions) >= MAX_VERSIONS:
            raise PolicyVersionFull
        version = PolicyVersion(self.last_id + 1, now, digest(document))
        return replace(
            self,
            versions=(*self.versions, version),
            last_id=version.id,
            default_id=version.id if as_default else self.default_id,
            updated_at=now,
        )

    def replace_default(self, document: str, *, now: int) -> Self:
        """With a new version in the place of the one that applies, so that there is always room for it."""
        kept = tuple(v for v in self.versions if v.id != self.default_id)
        return replace(self, versions=kept).add_version(document, now=now, as_default=True)

    def delete_version(self, version_id: int, *, now: int) -> Self:
        """Without the version; raises PolicyVersionNotExists or PolicyVersionAlreadyDefault."""
        gone = self.version(version_id)
        if gone.id == self.default_id:
            raise PolicyVersionAlreadyDefault
        return replace(self, versions=tuple(v for v in self.versions if v is not gone), updated_at=now)

    def set_default(self, version_id: int, *, now: int) -> Self:
        """With another version that applies; raises PolicyVersionNotExists."""
        return replace(self, default_id=self.version(version_id).id, updated_at=now)


@dataclass(frozen=True, slots=True)
class Attachments:
    """What is attached to a user, a group or a role."""

    target: str
    """`user/<uin>`, `group/<id>` or `role/<id>`."""
    policies: Mapping[int, int] = field(default_factory=dict)
    """Policy id -> when it was attached, in that order."""
    boundary: int = 0
    """The id of the policy that bounds what the others allow; 0 is none."""
    row_version: int = field(default=0, compare=False)


def digest(document: str) -> str:
    """What a policy remembers of a version's document."""
    return hashlib.sha256(document.encode()).hexdigest()
