"""The key usages that the region offers, and their algorithms."""

from typing import Any

from chalicelib.context import Context
from chalicelib.model.key import SYMMETRIC_USAGES


def list_algorithms(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    symmetric = [
        {"KeyUsage": usage, "Algorithm": by_standard[ctx.standard]}
        for usage, by_standard in SYMMETRIC_USAGES.items()
    ]
    return {
        "SymmetricAlgorithms": symmetric,
        "AsymmetricAlgorithms": [],
        "AsymmetricSignVerifyAlgorithms": [],
    }
