"""The account's secrets in the region, filtered and in pages."""

from typing import Annotated, Any, Final

from chalicelib.actions.parameters import TagFilters, Unsigned, carries
from chalicelib.context import Context
from chalicelib.model.secret import SecretState
from chalicelib.params import RECORDED, Between, Characters, OneOf, Wire

DEFAULT_LIMIT: Final = 20
_STATES: Final = (None, SecretState.ENABLED, SecretState.DISABLED, SecretState.PENDING_DELETE)


def list_secrets(
    ctx: Context,
    *,
    offset: Unsigned = 0,
    limit: Annotated[int, Between(0, 1000), RECORDED] = 0,
    order_type: Annotated[int, OneOf((0, 1)), RECORDED] = 0,
    state: Annotated[int, Between(0, 5), RECORDED] = 0,
    search_secret_name: Annotated[str, Characters(128), RECORDED] = "",
    tag_filters: TagFilters | None = None,
    secret_type: Annotated[int, Between(0, 4), RECORDED] = 0,
    product_name: str = "",
    encrypt_type: Annotated[int, OneOf((0, 1)), RECORDED] = 0,
    instance_id: Annotated[str, Wire("InstanceID")] = "",
) -> dict[str, Any]:
    listed = ctx.secrets.visible()
    # ProductName counts with SecretType 1 only.
    if secret_type or encrypt_type or instance_id or state >= len(_STATES):
        return {"TotalCount": 0, "SecretMetadatas": []}  # product secrets and their states: there are none
    found = listed if order_type else listed[::-1]
    if state:
        found = [s for s in found if s.state is _STATES[state]]
    if tag_filters:
        found = [s for s in found if carries(s.tags, tag_filters)]
    if search_secret_name:
        found = [s for s in found if search_secret_name in s.name]
        # Terraform searches for a name and takes the first match: the exact one has to lead.
        found.sort(key=lambda s: s.name != search_secret_name)
    page = found[offset : offset + (limit or DEFAULT_LIMIT)]
    return {
        "TotalCount": len(found),
        "SecretMetadatas": [
            {
                **s.metadata(),
                "KmsKeyType": "DEFAULT" if s.default_key else "CUSTOMER",
                "RotationStatus": 0,
                "RotationBeginTime": "",
                "NextRotationTime": 0,
            }
            for s in page
        ],
    }
