"""CPU time of a function's cold start on the packaged bundle: from the start of the process to its first answer.

usage: python -m benchmarks.cold_start [RUNS] [BUNDLE]

BUNDLE is a deployment.zip that `make package` wrote; without one it is built. AWS's own runtime client runs it, ministack
(`make ministack`, or its path in KEYSTEAD_MINISTACK) is the table, by http: TLS to DynamoDB comes on top, as does whatever
the machine takes longer than this one. The best of RUNS (15) is what the others' noise has disturbed least.
"""  # noqa: INP001 - a script

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.runtime import CREDENTIALS, Installed, sdk
from tools import package

WARM_CALLS = 200
EMPTY = "def handler(event, context):\n    return None\n"
SECRET = {"SecretName": "cold", "VersionId": "v1"}
IMPORTED = re.compile(r"import time: +([0-9]+) \|[ 0-9]+\| +([\w]+)")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    os.environ.update(CREDENTIALS)
    with tempfile.TemporaryDirectory() as name, _ministack(Path(name)) as endpoint:
        folder = Path(name)
        if len(sys.argv) > 2:
            bundle = Path(sys.argv[2])
        else:
            package.build(["prod"], folder)
            bundle = folder / "keystead-prod/deployment.zip"
        shutil.unpack_archive(bundle, folder / "task")
        installed = Installed(endpoint, folder / "task", folder)
        with installed.function("app.api") as function:
            sdk(installed, function).call_json("CreateSecret", SECRET | {"SecretString": "a value"})
        (folder / "empty.py").write_text(EMPTY)
        _report(f"bundle: {bundle.stat().st_size / 1e6:.1f} MB; CPU in ms, the best of {runs}")
        _report_stages(installed, folder, runs)
        _report_imports(installed)


def _report_stages(installed: Installed, folder: Path, runs: int) -> None:
    empty, opened, answered, warm = [], [], [], []
    for _ in range(runs):
        with installed.function("empty.handler", folder) as function:
            function.api.asked.wait(20)
            empty.append(function.cpu_seconds())
        with installed.function("app.api") as function:
            function.api.asked.wait(20)
            opened.append(function.cpu_seconds())
            client = sdk(installed, function)
            client.call_json("GetSecretValue", SECRET)
            answered.append(function.cpu_seconds())
    with installed.function("app.api") as function:
        client = sdk(installed, function)
        for _ in range(2):
            begin = function.cpu_seconds()
            for _ in range(WARM_CALLS):
                client.call_json("GetSecretValue", SECRET)
            warm.append((function.cpu_seconds() - begin) / WARM_CALLS)
    _report(f"{min(empty) * 1e3:6.0f}  Python and the runtime client, with a handler that does nothing")
    _report(f"{(min(opened) - min(empty)) * 1e3:6.0f}  imports, settings, DynamoDB's client")
    _report(f"{(min(answered) - min(opened)) * 1e3:6.0f}  the first GetSecretValue")
    _report(f"{min(answered) * 1e3:6.0f}  in all (the median is {sorted(answered)[runs // 2] * 1e3:.0f})")
    _report(f"{min(warm) * 1e3:8.1f}  each further GetSecretValue")


def _report_imports(installed: Installed) -> None:
    with installed.function("app.api", flags=("-X", "importtime")) as function:
        sdk(installed, function).call_json("GetSecretValue", SECRET)
    spent: Counter[str] = Counter()
    for microseconds, package_name in IMPORTED.findall((installed.home / "app.api.log").read_text()):
        spent[package_name] += int(microseconds)
    _report("imports by package, as `-X importtime` has it, which slows them down:")
    for package_name, microseconds in spent.most_common(12):
        _report(f"{microseconds / 1e3:6.0f}  {package_name}")


@contextlib.contextmanager
def _ministack(folder: Path) -> Iterator[str]:
    program = Path(os.environ.get("KEYSTEAD_MINISTACK", ".venv-ministack/bin/ministack"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}
    with (folder / "ministack.log").open("wb") as log:
        process = subprocess.Popen([program.absolute()], cwd=folder, env=environment, stdout=log, stderr=log)
    headers = {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}", b"{}", headers)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request, timeout=60).close()  # noqa: S310 - loopback
                break
            time.sleep(0.1)
        else:
            sys.exit((folder / "ministack.log").read_text() or "ministack did not start")
        yield request.full_url
    finally:
        process.kill()
        process.wait()


def _report(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
