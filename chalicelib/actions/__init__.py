"""One file per action; the folder is the registry."""

import functools
from collections.abc import Mapping
from pathlib import Path


@functools.cache
def names(service: str) -> Mapping[str, str]:
    """The service's actions: name on the wire -> module name."""
    folder = Path(next(iter(__path__))) / service
    modules = {
        path.name.partition(".")[0] for path in folder.iterdir() if path.name.endswith((".py", ".pyc"))
    }
    return {"".join(part.capitalize() for part in m.split("_")): m for m in sorted(modules - {"__init__"})}
