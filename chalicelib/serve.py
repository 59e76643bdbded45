"""A server for production on one machine: `python -m chalicelib.serve`.

One parent binds the port and watches its workers; each worker is a process with threads, tables and HSM domains of its
own. A worker that dies is replaced, and nothing that it acknowledged is lost: a write is durable before its answer
leaves. Jobs run in every worker on their schedules; the lease lets one of them work.

Beside the API the port answers GET `/health` (the process lives), GET `/ready` (its tables and HSM domains answer) and,
with KEYSTEAD_METRICS_TOKEN as bearer token, GET `/metrics` (Prometheus' text format, all workers together).
"""

import functools
import gc
import hmac
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.mp import MPServer

from chalicelib import bootstrap, wiring
from chalicelib.api import wsgi
from chalicelib.api.gateway import Gateway
from chalicelib.audit import Event
from chalicelib.context import IDENTITY, Service
from chalicelib.hsm.port import HsmError
from chalicelib.jobs import schedule
from chalicelib.settings import SettingError, Settings
from chalicelib.table.port import TableError

_log: Final = logging.getLogger("keystead")
_access: Final = logging.getLogger("keystead.access")
_STOP_SECONDS: Final = 15
_GARBAGE: Final = 10_000
"""New objects until the youngest are searched for garbage; Python's own choice is 700."""
_CRASHES: Final = 20
_CRASHES_SECONDS: Final = 60.0
_BUCKETS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 5.0)


class Server(MPServer):
    """Granian, but workers that die one after the other are all replaced, since somebody may be killing them on purpose."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._crashes: list[float] = []

    def _spawn_worker(self, *arguments: Any, **options: Any) -> Any:
        number, load = options["idx"], options["callback_loader"]
        options["callback_loader"] = functools.partial(_on_a_core, number, self.workers, load)
        return super()._spawn_worker(*arguments, **options)

    def _respawn_workers(self, workers: Any, *arguments: Any, **options: Any) -> None:
        now = time.monotonic()
        self._crashes = [at for at in self._crashes if at > now - _CRASHES_SECONDS] + [now] * len(workers)
        super()._respawn_workers(workers, *arguments, **options)
        if len(self._crashes) <= _CRASHES:
            self.respawned_wrks.clear()  # else a second death within seconds would end the server


def _on_a_core(number: int, workers: int, load: Callable[[], Any]) -> Any:
    """Begin a worker; where there is one for each core, on a core of its own.

    Python lets one thread of a process work at a time. Left to the system they wander, and find the caches cold: that
    took a sixth of the calls.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if workers == len(cores):
            os.sched_setaffinity(0, {cores[number]})
    return load()


def main() -> int:
    """Serve until SIGTERM or SIGINT; what is being answered then is answered first."""
    try:
        settings = Settings.from_environment()
        service = wiring.service()
        is_first = not (settings.home / "credentials").exists()
        root, path = bootstrap.ensure(service)
        if settings.hsm == "software":
            for domain in (IDENTITY, *settings.regions):
                service.hsm(domain)  # unsealed once, here: the workers are forks
        else:
            service.close()  # a library that keeps keys is not carried over a fork
            wiring.service.cache_clear()
        server = Server(
            "chalicelib.serve:application",
            factory=True,
            interface=Interfaces.WSGI,
            address=settings.listen,
            port=settings.port,
            workers=settings.workers,
            blocking_threads=settings.threads,
            http=HTTPModes.http1,
            websockets=False,
            ssl_cert=settings.tls_certificate,
            ssl_key=settings.tls_key,
            ssl_protocol_min=SSLProtocols.tls12,
            respawn_failed_workers=True,
            workers_kill_timeout=_STOP_SECONDS,
            log_level="error",
        )
    except (SettingError, HsmError, TableError, OSError) as error:
        sys.stderr.write(f"Keystead cannot start: {error}\n")
        return 1
    scheme = "https" if settings.tls_certificate else "http"
    # Into a log the SecretKey does not go: the line after says in which file it is.
    if is_first and sys.stderr.isatty():
        sys.stderr.write(bootstrap.announce(service, root, path, f"{settings.listen}:{settings.port}"))
    sys.stderr.write(
        f"Keystead serves {scheme}://{settings.listen}:{settings.port} with {settings.workers} workers,"
        f" credentials in {path}\n"
    )
    _prepare_metrics(settings)
    server.serve()
    return 0


def application() -> WSGIApplication:
    """What a worker serves; called once in each."""
    service = wiring.service()
    settings = service.settings
    if settings.access_log:
        _log_to(sys.stdout)
    observers = [
        *([_write_down] if settings.access_log else []),
        *([_metrics()] if settings.metrics_token else []),
    ]
    gateway = Gateway(service, observers)
    schedule.start_timer(service)
    api = wsgi.application(gateway)
    readiness = _Readiness(service)
    # Calls leave no cycles behind, and what is there by now stays: looking for garbage in it costs 4 % of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET" and "HTTP_AUTHORIZATION" not in environ:
            match environ["PATH_INFO"], environ["QUERY_STRING"]:
                case "/health", "":
                    return _answer(start_response, "200 OK", b"alive\n")
                case "/ready", "":
                    if readiness.is_good():
                        return _answer(start_response, "200 OK", b"ready\n")
                    return _answer(start_response, "503 Service Unavailable", b"not ready\n")
        elif environ["PATH_INFO"] == "/metrics" and settings.metrics_token:
            wanted = f"Bearer {settings.metrics_token}".encode()
            if hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), wanted):
                return _answer(start_response, "200 OK", _render())
            return _answer(start_response, "401 Unauthorized", b"the bearer token is wrong\n")
        return api(environ, start_response)

    return serve


def _answer(start_response: StartResponse, status: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class _Readiness:
    """Whether every table and HSM domain answers, asked at most once a second: anybody may call."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._until = 0.0
        self._was_good = False

    def is_good(self) -> bool:
        """The log says which domain does not answer; the caller is told nothing."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._was_good = all(map(self._answers, (IDENTITY, *self._service.settings.regions)))
                self._until = time.monotonic() + 1
            return self._was_good

    def _answers(self, domain: str) -> bool:
        try:
            self._service.table(domain).get("READY", "R")
            self._service.hsm(domain).random(1)
        except Exception as error:  # noqa: BLE001 - whatever it is, the domain cannot be used
            _log.error("%s is not ready: %s", domain, type(error).__name__)
            return False
        return True


def _write_down(event: Event, seconds: float) -> None:
    """One line a call. Nothing of what was sent but names that the pipeline has checked."""
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.at_ms / 1000)),
        "request_id": event.id,
        "account": event.account,
        "uin": event.uin,
        "call": f"{event.service}:{event.action}" if event.service else "",
        "region": event.region if event.service else "",
        "code": event.error_code or "OK",
        "ms": round(seconds * 1e3, 2),
        "ip": event.source_ip,
    }
    _access.info("%s", json.dumps(line))


def _log_to(stream: Any) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _access.addHandler(handler)
    _access.setLevel(logging.INFO)
    _access.propagate = False


def _prepare_metrics(settings: Settings) -> None:
    """A fresh folder in which the workers count; `prometheus_client` finds it by this variable when it is imported."""
    if settings.metrics_token:
        folder = settings.home / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _metrics() -> Callable[[Event, float], None]:
    """What counts calls: by service, action and code, all of them names that the pipeline knows."""
    from prometheus_client import Counter, Histogram  # noqa: PLC0415 - only after the variable is set

    calls = Counter("keystead_requests", "Calls answered", ["service", "action", "code"])
    times = Histogram(
        "keystead_request_seconds", "Time to answer a call", ["service", "action"], buckets=_BUCKETS
    )

    def count(event: Event, seconds: float) -> None:
        service, action = (event.service, event.action) if event.service else ("", "")
        calls.labels(service, action, event.error_code or "OK").inc()
        times.labels(service, action).observe(seconds)

    return count


def _render() -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - as above
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415 - as above

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


if __name__ == "__main__":
    sys.exit(main())
