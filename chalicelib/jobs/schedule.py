"""The jobs, how often each runs, and the timer of a local installation."""

import importlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from chalicelib.context import IDENTITY, Service
from chalicelib.jobs.sweep import Outcome

_log: Final = logging.getLogger("keystead")

EVERY_MINUTES: Final = {
    "delete_expired_data_keys": 60,
    "delete_expired_keys": 60,
    "delete_expired_secrets": 5,
    "expire_imported_material": 5,
    "replicate_secrets": 5,
    "rewrap_tokens": 5,
    "rotate_keys": 60,
    "seal_audit": 5,
}
"""Job -> minutes between two runs; the module and the function have the job's name."""


_OF_IDENTITY_TOO: Final = frozenset({"rewrap_tokens", "seal_audit"})


def run(service: Service, job: str) -> dict[str, Outcome]:
    """Run a job in every region, some for the identity rows too; a failure does not keep the others from their turn."""
    function: Callable[[Service, str], Outcome] = getattr(
        importlib.import_module(f"chalicelib.jobs.{job}"), job
    )
    outcomes = {}
    for region in (*service.settings.regions, *([IDENTITY] if job in _OF_IDENTITY_TOO else [])):
        try:
            outcomes[region] = function(service, region)
        except Exception as error:  # noqa: BLE001 - every kind of failure has to leave the other regions running
            _log.error("keystead.job failed: %s in %s: %s", job, region, type(error).__name__)
            outcomes[region] = Outcome()
            continue
        # The words that the alarms of infra/template.json look for.
        if outcomes[region].failed:
            _log.warning("keystead.job failed: %s in %s: %d rows", job, region, outcomes[region].failed)
        if outcomes[region].ran and not outcomes[region].finished:
            _log.warning("keystead.job unfinished: %s in %s", job, region)
    return outcomes


def start_timer(service: Service, *, first_seconds: float = 5) -> threading.Event:
    """Run every job on its schedule in a thread of this process; set the event that comes back to stop."""
    stop = threading.Event()
    arguments = (service, stop, time.monotonic() + first_seconds)
    threading.Thread(target=_tick, args=arguments, name="jobs", daemon=True).start()
    return stop


def _tick(service: Service, stop: threading.Event, first_at: float) -> None:
    due_at = dict.fromkeys(EVERY_MINUTES, first_at)
    while not stop.wait(1):
        for job, at in due_at.items():
            if time.monotonic() >= at:
                run(service, job)
                due_at[job] = time.monotonic() + EVERY_MINUTES[job] * 60
