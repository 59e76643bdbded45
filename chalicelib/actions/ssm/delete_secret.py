"""Delete a disabled secret, at once or after a number of days in which it can be restored."""

from typing import Annotated, Any

from chalicelib.actions.parameters import Flag, SecretName
from chalicelib.context import Context
from chalicelib.model.secret import DAY
from chalicelib.params import RECORDED, Between, OneOf, Wire
from chalicelib.table import secrets


def delete_secret(
    ctx: Context,
    *,
    secret_name: SecretName,
    recovery_window_in_days: Annotated[int, Between(0, 30), RECORDED] = 0,
    clean_ssh_key: Annotated[Flag, Wire("CleanSSHKey")] = False,
    delete_mode: Annotated[int, OneOf((0, 1)), RECORDED] = 0,
) -> dict[str, Any]:
    del clean_ssh_key, delete_mode  # for SSH key pairs and product secrets, which are not made here
    secret = ctx.secrets.get(secret_name)
    delete_at = ctx.now + recovery_window_in_days * DAY
    if recovery_window_in_days == 0:
        secret.check_deletable()
        ctx.commit(secrets.delete(secret))
    else:
        ctx.commit(secrets.replace(secret, secret.schedule_deletion(at=delete_at)))
    return {"SecretName": secret.name, "DeleteTime": delete_at}
