"""One step of the comparison, in the interpreter of one package: how long it takes, in milliseconds.

    python steps.py import | create | exec WORKSPACE TURNS | tools PYRO | delete WORKSPACE

The same calls for pyro and for its peer. `PYRO_BENCH_BACKEND` and `PYRO_BENCH_BASE` are what `Pyro`
is given, where they are set.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def taken(begun):
    return (time.perf_counter() - begun) * 1000


def pyro():
    from pyro_mcp import Pyro

    base = os.environ.get("PYRO_BENCH_BASE")
    backend = os.environ.get("PYRO_BENCH_BACKEND")
    return Pyro(base_dir=base and Path(base), backend_name=backend or None)


def imported():
    begun = time.perf_counter()
    import pyro_mcp  # noqa: F401

    print(taken(begun))


def created():
    on_host = bool(os.environ.get("PYRO_BENCH_BACKEND"))
    print(pyro().create_workspace(environment="debian:12", allow_host_compat=on_host)["workspace_id"])


def executed(workspace_id, turns):
    pyro().exec_workspace(workspace_id, command="true")
    for _ in range(int(turns)):
        begun = time.perf_counter()
        result = pyro().exec_workspace(workspace_id, command="true")
        print(taken(begun))
        assert result["exit_code"] == 0, result


def listed(program):
    """From the start of the server's process to its list of tools."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [program, "mcp", "serve", "--profile", "workspace-core"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        hello = {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        for message in [
            {"id": 1, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/list"},
        ]:
            print(json.dumps({"jsonrpc": "2.0"} | message), file=server.stdin, flush=True)
        for line in server.stdout:
            answer = json.loads(line)
            if answer.get("id") == 2:
                print(taken(begun))
                assert answer["result"]["tools"], answer
                break
        else:
            sys.exit("the server went away without a list of tools")
        server.stdin.close()
        server.wait(60)


def deleted(workspace_id):
    pyro().delete_workspace(workspace_id)


STEPS = {
    "import": imported,
    "create": created,
    "exec": executed,
    "tools": listed,
    "delete": deleted,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
