"""The same on real virtual machines."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import urllib.request

from conftest import eventually
from pyro_mcp import AsyncPyro, Pyro
from pyro_mcp.tools import tool_definitions


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


def test_what_integrations_are_told_to_call(vms):
    """Names and labels, secrets and ports of shells and services, snapshots, and the disk of a
    workspace that was stopped."""
    pyro = Pyro()
    at = pyro.create_workspace(
        environment="debian:12",
        name="first",
        network_policy="egress+published-ports",
        secrets=[{"name": "TOKEN", "value": "hidden-from-all"}],
    )["workspace_id"]
    updated = pyro.update_workspace(at, name="renamed", labels={"issue": "7"})
    assert (updated["name"], updated["labels"]) == ("renamed", {"issue": "7"})
    assert pyro.list_workspaces()["workspaces"][0]["name"] == "renamed"

    started = pyro.start_service(
        at,
        "web",
        command="echo $T | wc -c; echo $T; echo page > index.html; exec python3 -u -m http.server 8000",
        readiness={"type": "tcp", "address": "127.0.0.1:8000"},
        secret_env={"TOKEN": "T"},
        published_ports=[{"guest_port": 8000}],
    )
    (port,) = started["published_ports"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port['host_port']}/index.html", timeout=30) as page:
        assert page.read() == b"page\n"
    told = pyro.logs_service(at, "web")["stdout"]
    assert told.startswith("16\n") and "hidden" not in told
    assert pyro.stop_service(at, "web")["state"] == "stopped"

    shell = pyro.open_shell(at, secret_env={"TOKEN": "T"})["shell_id"]

    def shown():
        return pyro.read_shell(at, shell, plain=True, max_chars=100_000)["output"]

    pyro.write_shell(at, shell, input="echo length-${#T} $T; sleep 1000; echo status-$?")
    eventually(lambda: "length-15" in shown())
    assert "hidden" not in shown()
    eventually(lambda: pyro.exec_workspace(at, command="pgrep -x sleep")["exit_code"] == 0)
    pyro.signal_shell(at, shell)
    # Ctrl-C ends the line, too.
    eventually(lambda: pyro.exec_workspace(at, command="pgrep -x sleep")["exit_code"] == 1)
    assert "status-" not in shown().replace("status-$", "")
    pyro.close_shell(at, shell)

    pyro.create_snapshot(at, "now")
    assert [one["snapshot_name"] for one in pyro.list_snapshots(at)["snapshots"]] == ["baseline", "now"]
    pyro.delete_snapshot(at, "now")
    assert [one["snapshot_name"] for one in pyro.list_snapshots(at)["snapshots"]] == ["baseline"]

    assert pyro.stop_workspace(at)["state"] == "stopped"
    paths = [entry["path"] for entry in pyro.list_workspace_disk(at)["entries"]]
    assert "/workspace/index.html" in paths
    assert pyro.read_workspace_disk(at, "/workspace/index.html")["content"] == "page\n"
    image = vms.folder / "disk.ext4"
    exported = pyro.export_workspace_disk(at, output_path=image)
    assert exported["disk_format"] == "ext4" and image.stat().st_size == exported["bytes_written"]
    # The magic number of ext4.
    with image.open("rb") as disk:
        disk.seek(1024 + 56)
        assert disk.read(2) == b"\x53\xef"
    pyro.delete_workspace(at)
    assert pyro.list_workspaces()["count"] == 0


def test_a_models_arguments_reach_the_tool_by_any_name(vms):
    """Frameworks pass them as keywords, and one is called like what could bound the answer."""
    with Pyro().workspace(environment="debian:12") as workspace:
        (read,) = [tool for tool in tool_definitions("workspace-full") if tool.name == "shell_read"]
        asked = {"workspace_id": workspace.workspace_id, "shell_id": workspace.open_shell()["shell_id"]}
        workspace.write_shell(asked["shell_id"], input="seq 1000")
        eventually(lambda: "\n1000" in workspace.read_shell(asked["shell_id"], plain=True)["output"])
        for answer in [read.answer(max_chars=100, **asked), asyncio.run(read.aanswer(max_chars=100, **asked))]:
            facts = json.loads(answer)
            assert len(facts["output"]) == 100 and facts["truncated"] is True
        assert "left out" in json.loads(read.answer(asked, 1_000))["output"]


def test_the_bare_server_and_the_full_one_in_process(vms):
    pyro = Pyro()
    core, full = pyro.create_server(), pyro.create_server(profile="workspace-full")
    assert core.profile == "workspace-core"

    async def story():
        offered = [{tool["name"] for tool in await server.list_tools()} for server in (core, full)]
        advanced = {"shell_open", "service_start", "snapshot_create", "workspace_disk_read"}
        assert not advanced & offered[0] and advanced | offered[0] <= offered[1]

        async def call(server, tool, **arguments):
            result = await server.call_tool(tool, arguments)
            assert result.isError is False, result
            return result.structuredContent

        # Made by the one, used by both.
        at = {"workspace_id": (await call(core, "workspace_create", environment="debian:12"))["workspace_id"]}
        ran = await call(core, "workspace_exec", command="echo one > file; uname -r", **at)
        assert ran["execution_mode"] == "guest_vsock" and ran["stdout"].strip() != os.uname().release
        refused = await core.call_tool("snapshot_create", {**at, "snapshot_name": "one"})
        assert refused.isError and "workspace-full" in refused.structuredContent["hint"]
        await call(full, "snapshot_create", snapshot_name="one", **at)
        shell = (await call(full, "shell_open", **at))["shell_id"]
        await call(full, "shell_write", shell_id=shell, input="cat file", **at)
        shown = ""
        # A shell that is slow to start is silent, too.
        for _ in range(100):
            read = await call(full, "shell_read", shell_id=shell, plain=True, wait_for_idle_ms=300, **at)
            shown = read["output"]
            if "one" in shown:
                break
        assert "one" in shown
        service = await call(full, "service_start", service_name="s", command="exec sleep 1000", **at)
        assert service["state"] == "running"
        await call(full, "workspace_stop", **at)
        disk = await call(full, "workspace_disk_read", path="/workspace/file", **at)
        assert disk["content"] == "one\n"
        await call(core, "workspace_delete", **at)
        assert (await call(core, "workspace_list"))["count"] == 0

    asyncio.run(story())


def waiting(world):
    """How many VMs wait for a command."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{world.state}/pyro.db?mode=ro", uri=True)) as store:
            return store.execute("SELECT count(*) FROM vms WHERE running = 2").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # Not there yet.


def test_vms_that_wait_for_a_program(vms):
    """PYRO_STANDBY counts for `Pyro`, too, and what waits ends with the interpreter."""
    program = """
        import sys
        from pyro_mcp import Pyro
        pyro = Pyro()
        print("begun", flush=True)
        sys.stdin.readline()
        done = pyro.run_in_vm(environment="debian:12", command="echo out")
        print(done["stdout"].strip(), done["standby"], flush=True)
    """
    with vms.start(program, env=os.environ | vms.variables() | {"PYRO_STANDBY": "1"}) as process:
        assert process.stdout.readline() == "begun\n"
        eventually(lambda: waiting(vms) == 1, seconds=120)
        process.stdin.write("\n")
        process.stdin.flush()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "out True\n"), err


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
