"""A VM step by step: create, start, look, run, gone.

Choose this when you want to look at a VM before its one command runs; otherwise `run_in_vm` does all
of it at once.

    python examples/python_lifecycle.py
"""

import time

from pyro_mcp import Pyro, errors


def main():
    pyro = Pyro()
    created = pyro.create_vm(environment="debian:12", mem_mib=512, ttl_seconds=300)
    vm_id = created["vm_id"]
    print("created:", created["state"])
    print("started:", pyro.start_vm(vm_id)["state"])
    status = pyro.status_vm(vm_id)
    until = time.strftime("%H:%M:%S", time.localtime(status["expires_at"]))
    print(f"it has {status['mem_mib']} MiB and goes at {until}, whatever happens")
    result = pyro.exec_vm(vm_id, command="uname -r")
    print("ran:", result["stdout"].strip())
    # One command is a VM's whole life.
    try:
        pyro.status_vm(vm_id)
    except errors.UnknownVmError as gone:
        print("gone:", gone.code)


if __name__ == "__main__":
    main()
