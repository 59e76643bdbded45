"""When an old generation of a domain key may be destroyed: once nothing names it.

A generation that is destroyed takes every key with it whose token still names it, and no backup of the table brings that
back. So there are two looks, one after the other: the job rewrap_tokens has to have made a clean pass, and then
everything is read here once more. What moved behind the first reader's back (RotateKey moves an older backing key from
one row to another) is in its final place for the second.
"""

from collections import Counter
from typing import Final

from chalicelib.context import IDENTITY, Service
from chalicelib.formats import key_token
from chalicelib.jobs.lease import Lease
from chalicelib.jobs.rewrap_tokens import JOB, PAGE, SETTLING_SECONDS, Progress, tokens_of
from chalicelib.sessions import USER_SECONDS
from chalicelib.table.port import due_kind

SESSION_SECONDS: Final = USER_SECONDS
"""The longest life of temporary credentials: their tokens are with clients, where nobody rewraps them."""

_RUN_JOB: Final = "`python -m chalicelib.jobs rewrap_tokens` goes on with it, as the schedule does."


class NotYet(Exception):
    """A generation cannot be retired: the text says why, and what is left."""


def check_retirable(service: Service, domain: str, generation: int) -> None:
    """Raise NotYet while something may need an older generation of a domain key. It reads all of the domain's rows."""
    generations = service.hsm(domain).generations()
    if generation not in generations:
        there = ", ".join(map(str, generations)) or "none"
        raise NotYet(f"{domain} has no generation {generation}: there is {there}.")
    newest = generations[-1]
    if generation == newest:
        raise NotYet(f"Generation {generation} is the newest of {domain}: rotate first.")
    _check_settled(service, domain, newest)
    _check_unused(service, domain, generation)


def _check_settled(service: Service, domain: str, newest: int) -> None:
    """Raise NotYet unless the job has found nothing old, and what clients hold under older generations has expired."""
    progress = Progress.of(service.table(domain), domain)
    if progress is None or progress.newest != newest:
        raise NotYet(f"Nothing of {domain} has been put under generation {newest} yet. {_RUN_JOB}")
    now = service.clock.now()
    if domain == IDENTITY and (wait := progress.since + SETTLING_SECONDS + SESSION_SECONDS - now) > 0:
        raise NotYet(
            f"Temporary credentials under older generations end within {_hours(wait)}: try again then."
        )
    if progress.clean:
        return
    if (wait := progress.since + SETTLING_SECONDS - now) > 0:
        raise NotYet(
            f"Tokens of older generations of {domain} may still be written for {_hours(wait)}; after that rewrap_tokens"
            " makes its last pass. Try again then."
        )
    if progress.under_way:
        raise NotYet(f"The last pass over {domain} is under way. {_RUN_JOB}")
    raise NotYet(
        f"The last pass over {domain} found {progress.left} rows with older tokens, or that could not be read (then the"
        f" log names them). {_RUN_JOB}"
    )


def _check_unused(service: Service, domain: str, generation: int) -> None:
    """Raise NotYet if a row names the generation, or if it cannot be read what a row names; the job then begins anew."""
    table = service.table(domain)
    named: Counter[int] = Counter()
    unreadable: list[str] = []
    after = None
    while True:
        rows = table.scan(after=after, limit=PAGE)
        for row in rows:
            try:
                named.update({key_token.generation_of(key.token) for key in tokens_of(row, domain)})
            except Exception:  # noqa: BLE001 - whatever is wrong with the row
                unreadable.append(f"{row.pk}, {row.sk}")
        if len(rows) < PAGE:
            break
        after = (rows[-1].pk, rows[-1].sk)
    if not named[generation] and not unreadable:
        return
    lease = Lease(table, due_kind(JOB, domain))
    if lease.acquire(service.clock.now()) and (progress := Progress.decode(lease.cursor)) is not None:
        lease.cursor = progress.begin(service.clock.now()).encode()
        lease.release()
    raise NotYet(
        f"Generation {generation} of {domain} is named in {named[generation]} rows."
        + (f" These cannot be read: {'; '.join(unreadable[:10])}." if unreadable else "")
        + f" A new pass begins. {_RUN_JOB}"
    )


def _hours(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min"
