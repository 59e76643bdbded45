"""When an access key was last used: written down beside the audit event, at most once an hour for each key and process."""

from collections.abc import Mapping
from typing import Final

from chalicelib import ids
from chalicelib.audit import Event
from chalicelib.table import accounts
from chalicelib.table.port import Op

Uses = Mapping[tuple[str, str, str], int]
"""In which hour it was last written down: of which key (`AK`, the domain, the SecretId)."""

_HOUR: Final = 3600


def unwritten(known: Uses, domain: str, event: Event) -> tuple[list[Op], Uses]:
    """The op that notes the use of the event's access key in the domain's table, and what to remember once it is written.

    Nothing, where it was written in this hour, nobody has signed, or the credentials are temporary.
    """
    hour = event.at_ms // 1000 // _HOUR
    place = ("AK", domain, event.secret_id)
    is_temporary = len(event.secret_id) == ids.TEMPORARY_CHARACTERS
    if not event.uin or not event.secret_id or is_temporary or known.get(place) == hour:
        return [], {}
    return [accounts.put_use(event.secret_id, event.at_ms // 1000)], {place: hour}
