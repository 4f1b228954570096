"""The same on real virtual machines."""

import asyncio
import os
import signal

from conftest import eventually
from pyro_mcp import AsyncPyro, Pyro


def test_a_workspace_in_a_vm(vms, tmp_path):
    (tmp_path / "main.py").write_text("print(6 * 7)\n")
    pyro = Pyro()
    with pyro.workspace(environment="debian:12", seed_path=tmp_path) as workspace:
        heard = []
        done = workspace.exec(command="python3 main.py; uname -r", on_output=lambda *p: heard.append(p))
        assert done["execution_mode"] == "guest_vsock"
        number, kernel = done["stdout"].split()
        assert number == "42" and kernel != os.uname().release
        assert b"".join(what for _, what in heard).decode() == done["stdout"]
        program = """
            import sys
            from pyro_mcp import Pyro
            Pyro().exec_workspace(sys.argv[1], command="echo $$; exec sleep 1000", timeout_seconds=900,
                                  on_output=lambda stream, what: print("begun", flush=True))
        """
        # Ctrl-C in another interpreter ends the command in the guest, and nothing else.
        with vms.start(program, workspace.workspace_id) as process:
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
        running = "pgrep -x sleep || true"
        eventually(lambda: workspace.exec(command=running)["stdout"] == "")

        async def at_once():
            there = AsyncPyro().attach(workspace.workspace_id)
            return await asyncio.gather(*(there.exec(command=f"echo {n}") for n in range(4)))

        assert [done["stdout"] for done in asyncio.run(at_once())] == ["0\n", "1\n", "2\n", "3\n"]
    assert pyro.list_workspaces()["count"] == 0


def test_shells_services_snapshots_and_secrets(vms):
    pyro = Pyro()
    secrets = [{"name": "TOKEN", "value": "hidden-from-all"}]
    with pyro.workspace(environment="debian:12", secrets=secrets) as workspace:
        told = workspace.exec(command="echo $T | wc -c; echo $T", secret_env={"TOKEN": "T"})
        assert told["stdout"].startswith("16\n") and "hidden" not in told["stdout"]
        workspace.create_snapshot("clean")
        shell_id = workspace.open_shell()["shell_id"]
        workspace.write_shell(shell_id, input="cd /tmp; echo in-$PWD")
        eventually(lambda: "in-/tmp" in workspace.read_shell(shell_id, plain=True)["output"])
        workspace.close_shell(shell_id)
        workspace.start_service(
            "ready", command="touch up; exec sleep 1000", readiness={"type": "file", "path": "up"}
        )
        assert workspace.list_services()["services"][0]["state"] == "running"
        workspace.stop_service("ready")
        assert workspace.list_files()["entries"] != []
        workspace.reset(snapshot="clean")
        assert workspace.list_files()["entries"] == []


def test_a_killed_interpreter_leaves_no_vm(vms):
    program = """
        from pyro_mcp import Pyro
        Pyro().run_in_vm(environment="debian:12", command="echo begun; exec sleep 1000", timeout_seconds=900,
                         on_output=lambda stream, what: print("begun", flush=True))
    """
    with vms.start(program) as process:
        assert process.stdout.readline() == "begun\n"
        assert vms.vms()
        process.kill()


def test_two_interpreters_in_a_vm_whose_paths_have_spaces(vms):
    folder = vms.state / "mine, with spaces"
    project = vms.folder / "my project, too"
    project.mkdir()
    (project / "a file").write_text("seeded\n")
    program = """
        import sys
        from pyro_mcp import Pyro
        workspace = Pyro(base_dir=sys.argv[1]).attach(sys.argv[2])
        for number in range(5):
            workspace.write_file(f"{sys.argv[3]}-{number}", text=sys.argv[3])
            workspace.exec(command=f"echo {sys.argv[3]} >> all")
    """
    pyro = Pyro(base_dir=folder)
    with pyro.workspace(environment="debian:12", seed_path=project) as workspace:
        others = [vms.start(program, str(folder), workspace.workspace_id, name) for name in "ab"]
        for other in others:
            with other:
                _, err = other.communicate(timeout=120)
                assert other.returncode == 0, err
        written = workspace.exec(command="cat 'a file' && cat [ab]-* | wc -c && wc -l < all")
        assert written["stdout"].split() == ["seeded", "10", "10"]
        workspace.export("a file", output_path=vms.folder / "out of it")
        assert (vms.folder / "out of it").read_text() == "seeded\n"
    assert pyro.list_workspaces()["count"] == 0
