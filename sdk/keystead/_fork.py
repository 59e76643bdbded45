"""Locks after a fork: a thread that the child does not have may have held them, so objects there make new ones."""

import os
import weakref
from typing import Protocol


class _Locking(Protocol):
    def _reset(self) -> None:
        """New locks, and nothing that another thread was about to do."""


_objects: weakref.WeakSet[_Locking] = weakref.WeakSet()


def reset_in_child(each: _Locking) -> None:
    """Call `_reset` of the object, while there is one, in the child after each fork."""
    _objects.add(each)


def _after_fork() -> None:
    for each in list(_objects):
        each._reset()  # noqa: SLF001 - see _Locking


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
