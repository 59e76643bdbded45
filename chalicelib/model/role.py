"""A role: who may take it on, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_ROLES: Final = 1000
"""Of one account."""
MAX_SESSION_DURATION: Final = 43200
DEFAULT_SESSION_DURATION: Final = 7200


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role."""

    id: str
    name: str
    document: str
    """The trust policy: who may take the role on."""
    description: str = ""
    console_login: bool = False
    session_duration: int = DEFAULT_SESSION_DURATION
    """The longest session, in seconds."""
    created_at: int
    updated_at: int
    tags: Mapping[str, str] = field(default_factory=dict)
    row_version: int = field(default=0, compare=False)
