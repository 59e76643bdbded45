"""A hosted data key, encrypted under its CMK; Decrypt opens it."""

from typing import Any

from chalicelib.actions.parameters import DataKeyId, MemberAccount, refuse_member_account
from chalicelib.context import Context


def get_data_key_ciphertext_blob(
    ctx: Context, *, data_key_id: DataKeyId, member_account: MemberAccount | None = None
) -> dict[str, Any]:
    refuse_member_account(member_account)
    data_key = ctx.data_keys.get(data_key_id)
    data_key.check_shows_ciphertext()
    return {"CiphertextBlob": data_key.blob}
