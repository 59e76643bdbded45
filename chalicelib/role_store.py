"""The account's roles: found and authorised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.errors import ParamError, RoleNotExist
from chalicelib.table import roles as rows

if TYPE_CHECKING:
    from chalicelib.context import Context
    from chalicelib.model.role import Role


class RoleStore:
    """The roles of one account, for one call."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def get(self, role_id: str | int | None, name: str | None) -> Role:
        """The role by id or by name, once the caller is authorised for it and the event names it.

        Raises ParamError unless it is one of the two, or both and they agree, and RoleNotExist.
        """
        role_id, name = str(role_id or ""), name or ""
        if not role_id and not name:
            raise ParamError("The role's id or its name is required.")
        role = rows.find(self._ctx.table, self._ctx.seal, role_id=role_id, name=name)
        found_id, found_name = (role.id, role.name) if role is not None else (role_id, name)
        if found_id:
            self._ctx.event.note("role", found_id)
        # Policies know a role by both; who may not touch it does not learn whether there is one.
        known_by = [f"role/{found_id}"] * bool(found_id) + [f"roleName/{found_name}"] * bool(found_name)
        tags = role.tags if role is not None else {}
        self._ctx.authorise_one_of(*(self._ctx.resource(path) for path in known_by), tags=tags)
        if role is None:
            raise RoleNotExist
        return role

    def list_all(self) -> list[Role]:
        """Every role, oldest first."""
        return rows.list_all(self._ctx.table, self._ctx.seal)
