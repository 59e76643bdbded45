"""Random bytes from the HSM; no key is involved."""

import base64
from typing import Annotated, Any

from chalicelib.context import Context
from chalicelib.errors import InvalidParameter
from chalicelib.params import RECORDED, Between


def generate_random(
    ctx: Context, *, number_of_bytes: Annotated[int, Between(1, 1024, InvalidParameter), RECORDED]
) -> dict[str, Any]:
    ctx.authorise()
    return {"Plaintext": base64.b64encode(ctx.hsm.random(number_of_bytes)).decode()}
