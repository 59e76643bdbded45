"""When access keys were last used, to the hour; ids that are no access key of the account are left out."""

from datetime import UTC, datetime
from typing import Annotated, Any

from chalicelib.actions.user_parameters import AccessKeyId
from chalicelib.context import IDENTITY, Context
from chalicelib.errors import InvalidParameter
from chalicelib.params import RECORDED, Items
from chalicelib.table import accounts, users


def get_security_last_used(
    ctx: Context,
    *,
    secret_id_list: Annotated[list[AccessKeyId], Items(10, 1, InvalidParameter), RECORDED],
) -> dict[str, Any]:
    wanted = _own(ctx, list(dict.fromkeys(secret_id_list)))
    used = dict.fromkeys(wanted, 0)
    for domain in (IDENTITY, *ctx.settings.regions) if wanted else ():
        # Each region keeps what was used there: no call writes to another table than its own.
        rows = ctx.service.table(domain).batch_get([accounts.use_row_key(secret_id) for secret_id in wanted])
        used = {s: max(used[s], accounts.used_at(row)) for s, row in zip(wanted, rows, strict=True)}
    return {
        "SecretIdLastUsedRows": [
            {
                "SecretId": secret_id,
                "LastUsedDate": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" if at else None,
                "LastSecretUsedDate": at or None,
            }
            for secret_id, at in used.items()
        ]
    }


def _own(ctx: Context, secret_ids: list[str]) -> list[str]:
    """Those that are access keys of the account, once the caller is authorised for their users."""
    found = ctx.table.batch_get([accounts.access_key_row_key(secret_id) for secret_id in secret_ids])
    keys = [accounts.access_key_from_row(row) for row in found if row is not None]
    owners = users.find_users(ctx.table, ctx.seal, [k.uin for k in keys if k.account == ctx.caller.account])
    own = {key.id: user.uin for user in owners.values() for key in user.keys}
    for secret_id in secret_ids:
        ctx.authorise(ctx.resource(f"uin/{own.get(secret_id, '*')}"))
    return [secret_id for secret_id in secret_ids if secret_id in own]
