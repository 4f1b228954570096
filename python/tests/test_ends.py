"""The ends of an interpreter leave no one-shot VM behind, and let workspaces be."""

import os
import signal
import sys

import pytest
from conftest import eventually

# What a program of these tests begins with: a one-shot VM that would run for long, another that
# only stands there, and a workspace.
BEGIN = """
    import os, sys, threading, time
    from pyro_mcp import Pyro
    pyro = Pyro()
    allowed = dict(allow_host_compat=True)
    workspace_id = pyro.create_workspace(environment="debian:12", **allowed)["workspace_id"]
    vm_id = pyro.create_vm(environment="debian:12", **allowed)["vm_id"]
    pyro.start_vm(vm_id)
    begun = threading.Event()
    def run():
        pyro.run_in_vm(environment="debian:12", command="echo $$; exec sleep 1002", timeout_seconds=900,
                       on_output=lambda *_: begun.set(), **allowed)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
"""

ENDS = {
    "falls off its end": ("", 0),
    "exits": ("sys.exit(7)", 7),
    "exits at once": ("os._exit(7)", 7),
    "raises": ("raise RuntimeError('on purpose')", 1),
    "is killed": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "is told to end": ("os.kill(os.getpid(), 15); time.sleep(100)", -signal.SIGTERM),
}


@pytest.mark.parametrize("end", ENDS)
def test_only_the_workspace_is_left(world, pyro, end):
    program, status = ENDS[end]
    begin = BEGIN + "    print(workspace_id, flush=True)\n    "
    with world.start(begin + program) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Fatal" not in err and "panicked" not in err, err
    workspace_id = out.strip()
    # Its VM alone goes on, under a supervisor of its own.
    eventually(lambda: len(world.vms()) == 0, lambda: world.vms())
    assert pyro.status_workspace(workspace_id)["state"] == "started"
    pyro.delete_workspace(workspace_id)


def test_a_forked_child_is_refused_and_holds_nothing(world, pyro):
    program = BEGIN + """
    child = os.fork()
    if child == 0:
        try:
            pyro.list_workspaces()
        except Exception as error:
            print(type(error).__name__, error.hint, flush=True)
        print(workspace_id, os.getpid(), flush=True)
        time.sleep(1000)
        os._exit(0)
    thread.join()
    """
    with world.start(program) as process:
        said = process.stdout.readline()
        assert said.startswith("UnsupportedError") and "spawn" in said
        workspace_id, child = process.stdout.readline().split()
        try:
            assert world.vms()
            process.kill()
            process.wait(20)
            # The child lives on, and yet the VMs of its parent go.
            os.kill(int(child), 0)
            eventually(lambda: len(world.vms()) == 0, lambda: world.vms())
        finally:
            os.kill(int(child), signal.SIGKILL)
    pyro.delete_workspace(workspace_id)


def test_a_forked_child_that_ends_leaves_the_parent_alone(world, pyro):
    program = BEGIN + """
    child = os.fork()
    if child == 0:
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert pyro.exec_vm(vm_id, command="echo still")["stdout"] == "still\\n"
    assert pyro.exec_workspace(workspace_id, command="echo here")["stdout"] == "here\\n"
    pyro.delete_workspace(workspace_id)
    """
    world.run(program)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(world, method):
    script = world.folder / "pool.py"
    script.write_text(
        f"""
import multiprocessing
from pyro_mcp import Pyro

def work(number):
    done = Pyro().run_in_vm(environment="debian:12", command=f"echo {{number}}", allow_host_compat=True)
    return done["stdout"]

if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(3) as pool:
        print(pool.map(work, range(6)))
"""
    )
    out = world.run("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", str(script))
    assert out == f"{[f'{number}' + chr(10) for number in range(6)]}\n"


def test_a_program_that_was_interrupted_in_a_block_deletes_its_workspace(world, pyro):
    program = """
        import time
        from pyro_mcp import Pyro
        with Pyro().workspace(environment="debian:12", allow_host_compat=True) as workspace:
            print("begun", flush=True)
            time.sleep(1000)
    """
    with world.start(program) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert pyro.list_workspaces()["count"] == 0
