"""The key usages that the region offers, and their algorithms."""

from typing import Any

from chalicelib.context import Context
from chalicelib.model.key import ASYMMETRIC_USAGES, SYMMETRIC_USAGES


def list_algorithms(ctx: Context) -> dict[str, Any]:
    ctx.authorise()
    kinds = ctx.keys.kinds()
    pairs = {u: a for u, a in ASYMMETRIC_USAGES.items() if ctx.standard in a.standards and a.kind in kinds}
    return {
        "SymmetricAlgorithms": [
            {"KeyUsage": usage, "Algorithm": by_standard[ctx.standard]}
            for usage, by_standard in SYMMETRIC_USAGES.items()
            if by_standard[ctx.standard] in kinds
        ],
        "AsymmetricAlgorithms": [
            {"KeyUsage": u, "Algorithm": a.kind} for u, a in pairs.items() if not a.signs
        ],
        "AsymmetricSignVerifyAlgorithms": [
            {"KeyUsage": u, "Algorithm": name} for u, a in pairs.items() if a.signs for name in a.algorithms
        ],
    }
