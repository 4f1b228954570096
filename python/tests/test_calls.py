"""Calls: results, errors, output as it comes, many threads, Ctrl-C."""

import base64
import math
import pickle
import signal
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import eventually

from pyro_mcp import AsyncPyro, Pyro, PyroError, VmManager, Workspace, errors
from pyro_mcp._workspace import note_left


def test_one_command(world, pyro):
    result = pyro.run_in_vm(environment="debian:12", command="echo out; echo err >&2; exit 3", **world.allowed)
    assert result["stdout"] == "out\n"
    assert result["stderr"] == "err\n"
    assert result["exit_code"] == 3
    assert result["execution_mode"] == "host_compat"
    assert type(result) is dict


def test_a_workspace_from_its_seed_to_its_export(world, pyro, tmp_path):
    project = tmp_path / "a project"
    project.mkdir()
    (project / "main.py").write_text("print('one')\n")
    created = pyro.create_workspace(
        environment="debian:12",
        seed_path=project,
        name="fix",
        labels={"issue": "123"},
        **world.allowed,
    )
    workspace_id = created["workspace_id"]
    assert created["labels"] == {"issue": "123"}
    listed = pyro.list_workspaces()["workspaces"]
    assert [one["workspace_id"] for one in listed] == [workspace_id]
    assert pyro.exec_workspace("fix", command="python3 main.py")["stdout"] == "one\n"
    pyro.write_workspace_file(workspace_id, "main.py", text="print('two')\n")
    assert pyro.read_workspace_file(workspace_id, "main.py")["content"] == "print('two')\n"
    for content in (b"a\0\xff", bytearray(b"a\0\xff")):
        assert pyro.write_workspace_file(workspace_id, "bytes", text=content)["size_bytes"] == 3
    read = pyro.read_workspace_file(workspace_id, "bytes", encoding="base64")
    assert base64.b64decode(read["content"]) == b"a\0\xff"
    encoded = base64.b64encode(b"encoded")
    pyro.write_workspace_file(workspace_id, "bytes", text=encoded, encoding="base64")
    assert pyro.read_workspace_file(workspace_id, "bytes")["content"] == "encoded"
    with pytest.raises(errors.InvalidArgumentError, match="path must be text, not bytes"):
        pyro.write_workspace_file(workspace_id, b"bytes", text="x")
    pyro.exec_workspace("fix", command="rm bytes")
    assert "+print('two')" in pyro.diff_workspace(workspace_id)["patch"]
    pyro.export_workspace(workspace_id, "main.py", output_path=tmp_path / "out.py")
    assert (tmp_path / "out.py").read_text() == "print('two')\n"
    assert pyro.reset_workspace(workspace_id)["reset_count"] == 1
    assert pyro.manager.delete_workspace(workspace_id, reason="done")["reason"] == "done"
    assert pyro.list_workspaces()["count"] == 0


def test_a_vm_step_by_step_is_there_for_another_object(world):
    vm_id = Pyro().create_vm(environment="debian:12", **world.allowed)["vm_id"]
    assert Pyro().start_vm(vm_id)["state"] == "started"
    assert Pyro().exec_vm(vm_id, command="echo one")["stdout"] == "one\n"


def test_lists_are_plain(pyro):
    environments = pyro.list_environments()
    assert type(environments) is list
    assert "debian:12" in [environment["name"] for environment in environments]


def test_output_as_it_comes(workspace):
    pieces = []
    command = "echo one; echo two >&2; sleep 0.1; printf '\\377'"
    result = workspace.exec(command=command, on_output=lambda *piece: pieces.append(piece))
    assert b"".join(what for stream, what in pieces if stream == "stdout") == b"one\n\xff"
    assert b"".join(what for stream, what in pieces if stream == "stderr") == b"two\n"
    assert result["stdout"] == "one\n\ufffd"
    assert result["stdout_encoding"] == "utf-8-replaced"


def test_a_callback_that_is_slow_loses_nothing(workspace):
    lengths = []

    def hear(stream, what):
        lengths.append(len(what))
        if len(lengths) < 20:
            threading.Event().wait(0.01)

    result = workspace.exec(command="head -c 20000000 /dev/zero", on_output=hear)
    assert sum(lengths) == result["stdout_bytes"] == 20_000_000
    assert result["stdout_truncated"]


def test_an_exception_in_the_callback_ends_the_command(world, workspace):
    class Enough(Exception):
        pass

    def hear(stream, what):
        raise Enough

    with pytest.raises(Enough):
        workspace.exec(command="echo begun; exec sleep 1000", on_output=hear)
    eventually(lambda: not world.sleeping(1000))


def test_an_error_says_what_why_and_how_to_fix_it(world, pyro):
    with pytest.raises(errors.UnknownEnvironmentError) as caught:
        pyro.run_in_vm(environment="debian:13x", command="true", **world.allowed)
    error = caught.value
    assert error.code == "unknown_environment"
    assert error.cause == error.causes[0] and "debian:12" in error.cause
    assert error.hint
    assert f"  cause: {error.cause}\nhint: {error.hint}" in str(error)
    assert isinstance(error, ValueError) and isinstance(error, PyroError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.code, again.causes) == (str(error), error.code, error.causes)


def test_the_host_is_used_only_where_that_is_allowed(world, pyro):
    with pytest.raises(errors.VmUnavailableError) as caught:
        pyro.run_in_vm(environment="debian:12", command="true")
    assert isinstance(caught.value, RuntimeError)


WHOLE = "timeout_seconds must be a whole number"
BOUNDS = "timeout_seconds must be between 1 and 4294967295"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": 5}, "command must be text, not `5`"),
        ({"command": b"true"}, "command must be text, not bytes"),
        ({"command": object()}, "command must be text, not a value of type `object`"),
        ({"command": "\udcff"}, "command is not valid Unicode"),
        ({"command": ["true"]}, 'command must be text, not `["true"]`'),
        ({"command": " "}, "No command was given"),
        ({"command": "echo a\0b"}, "The command contains a NUL byte"),
        ({"command": None}, "No command was given"),
        ({"command": 2**70}, "command must be text, not `1180591620717411303424`"),
        ({"command": "true", "timeout_seconds": "soon"}, f"{WHOLE}, not `soon`"),
        ({"command": "true", "timeout_seconds": -1}, f"{BOUNDS}, not -1"),
        ({"command": "true", "timeout_seconds": 1.5}, f"{WHOLE}, not `1.5`"),
        ({"command": "true", "timeout_seconds": 2**70}, f"{BOUNDS}, not 1180591620717411303424"),
        ({"command": "true", "timeout_seconds": 10**9999}, f"{BOUNDS}, not 0x"),
        ({"command": "true", "timeout_seconds": math.nan}, f"{WHOLE}, not NaN"),
        ({"command": "true", "timeout_seconds": True}, f"{WHOLE}, not `true`"),
        ({"command": "true", "secret_env": {1: "A"}}, "secret_env must be an object, not a dictionary whose keys"),
        ({"command": "true", "secret_env": {"A": 2**70}}, "A part of secret_env must be text"),
        ({"command": "true", "secret_env": {"A": b"A"}}, "A part of secret_env must be text, not bytes"),
    ],
)
def test_values_of_a_wrong_type_are_refused(workspace, arguments, words):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        workspace.exec(**arguments)
    assert words in caught.value.message
    assert "expected" not in str(caught.value)


def test_a_part_of_a_value_is_named(workspace):
    itself = []
    itself.append(itself)
    for ports, words in [
        (["x"], "published_ports[0] must be an object, not `x`"),
        ([{"guest_port": 80}, {"guest_port": 0}], "published_ports[1].guest_port must be between 1 and 65535"),
        ([{"host_port": 8080}], "published_ports[0] needs the field `guest_port`"),
        (itself, "nested that deeply"),
    ]:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            workspace.start_service("web", command="true", published_ports=ports)
        assert words in caught.value.message


def test_python_and_the_tools_say_the_same(world, pyro):
    server = pyro.create_server(profile="workspace-full")
    for wrong in [{"environment": 3}, {"seed_path": 3}, {"labels": {"a": 5}}, {"mem_mib": 2**40}, {"mem_mib": 1e30}]:
        given = {"environment": "debian:12", **wrong}
        with pytest.raises(errors.InvalidArgumentError) as caught:
            pyro.create_workspace(**given)
        told = server.call("workspace_create", given)["structuredContent"]
        assert (caught.value.message, caught.value.hint) == (told["error"], told.get("hint"))
        assert next(iter(wrong)) in caught.value.message


def test_nothing_is_started_for_a_command_that_no_guest_takes(world, pyro):
    with pytest.raises(errors.InvalidArgumentError):
        pyro.run_in_vm(environment="debian:12", command="a\0b", **world.allowed)
    assert not (world.state / "pyro.db").exists()


def test_what_cannot_be_called_hears_nothing(world, workspace):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        workspace.exec(command="touch begun", on_output=3)
    assert "on_output must be callable, not `3`" in str(caught.value)
    assert workspace.list_files()["entries"] == []


def test_a_workspace_that_is_deleted_under_a_command(world, pyro, workspace):
    def delete(stream, what):
        Pyro().delete_workspace(workspace.workspace_id)

    with pytest.raises(errors.VmDiedError) as caught:
        workspace.exec(command="echo begun; exec sleep 1002", on_output=delete)
    assert "was deleted" in caught.value.message
    assert "starts it again" not in caught.value.hint


def test_what_python_refuses_itself(workspace, pyro):
    with pytest.raises(errors.InvalidArgumentError):
        workspace.exec()
    with pytest.raises(TypeError):
        workspace.exec("true")
    with pytest.raises(TypeError) as caught:
        pyro.exec_workspace("x", command="true", timeout=1)
    if sys.version_info >= (3, 10):
        assert str(caught.value).startswith("Pyro.exec_workspace()")
    for nothing in [3, None, "", " "]:
        with pytest.raises(errors.InvalidArgumentError):
            pyro.attach(nothing)
        with pytest.raises(errors.InvalidArgumentError):
            AsyncPyro().attach(nothing)


def test_more_bad_input(world, pyro, tmp_path):
    with pytest.raises(errors.UnknownWorkspaceError):
        pyro.status_workspace("nothing")
    with pytest.raises(PyroError) as caught:
        pyro.create_workspace(
            environment="debian:12", seed_path=tmp_path / "not here", **world.allowed
        )
    assert "not here" in str(caught.value)
    with pytest.raises(errors.InvalidArgumentError):
        pyro.create_workspace(environment="debian:12", labels={"a": 5}, **world.allowed)
    assert pyro.list_workspaces()["count"] == 0
    for wrong in [
        {"backend_name": "docker"},
        {"backend_name": 5},
        {"base_dir": 5},
        {"base_dir": ""},
        {"cache_dir": b""},
        {"manager": 5},
    ]:
        with pytest.raises(errors.InvalidArgumentError):
            Pyro(**wrong)
    with pytest.raises(errors.InvalidArgumentError):
        Pyro(max_active_vms="many")


def test_folders_and_backends_may_be_given(world, tmp_path):
    folder = tmp_path / "a state folder"
    manager = VmManager(backend_name="mock", base_dir=folder)
    pyro = Pyro(manager)
    assert pyro.manager is manager
    with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
        assert workspace.exec(command="echo there")["stdout"] == "there\n"
        assert (folder / "pyro.db").exists()
        assert Pyro().list_workspaces()["count"] == 0
    assert pyro.list_workspaces()["count"] == 0


def test_many_threads_at_once(workspace):
    def run(number):
        return workspace.exec(command=f"sleep 0.1; echo {number}")["stdout"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(run, range(32))) == [f"{number}\n" for number in range(32)]


def test_other_threads_go_on_during_a_call(workspace):
    counted = 0
    over = threading.Event()

    def count():
        nonlocal counted
        while not over.is_set():
            counted += 1

    counter = threading.Thread(target=count)
    counter.start()
    try:
        workspace.exec(command="sleep 0.5")
    finally:
        over.set()
        counter.join()
    # With the interpreter's lock held during the call it would stand still.
    assert counted > 1000


def test_ctrl_c_ends_the_call_and_the_command(world, workspace):
    program = """
        import sys
        from pyro_mcp import Pyro
        try:
            Pyro().exec_workspace(sys.argv[1], command="echo $$; exec sleep 1001", timeout_seconds=900,
                                  on_output=lambda stream, what: print("begun", flush=True))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with world.start(program, workspace.workspace_id) as process:
        assert process.stdout.readline() == "begun\n"
        eventually(lambda: world.sleeping(1001))
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        eventually(lambda: not world.sleeping(1001))
        assert process.wait(20) == 0
    # The workspace itself goes on.
    assert workspace.exec(command="echo here")["exit_code"] == 0


def test_two_interpreters_use_one_workspace(world, workspace):
    program = """
        import sys
        from pyro_mcp import Pyro
        workspace = Pyro().attach(sys.argv[1])
        for number in range(10):
            workspace.write_file(f"{sys.argv[2]}-{number}", text=sys.argv[2])
            workspace.exec(command=f"echo {sys.argv[2]} >> all")
    """
    others = [world.start(program, workspace.workspace_id, name) for name in "ab"]
    for other in others:
        with other:
            _, err = other.communicate(timeout=60)
            assert other.returncode == 0, err
    written = workspace.exec(command="cat [ab]-* | wc -c; wc -l < all")["stdout"].split()
    assert written == ["20", "20"]


def test_a_block_deletes_its_workspace_whatever_happens(world, pyro):
    with pytest.raises(ZeroDivisionError):
        with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
            workspace.exec(command="true")
            1 / 0
    assert pyro.list_workspaces()["count"] == 0
    with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
        workspace.delete()
    with pytest.raises(errors.WrongStateError):
        workspace.exec(command="true")
    with pyro.workspace(environment="debian:12", keep=True, **world.allowed) as workspace:
        kept = workspace.workspace_id
    with pyro.attach(kept) as workspace:
        assert workspace.status()["workspace_id"] == kept
    pyro.delete_workspace(kept)


def test_readiness_in_one_dictionary():
    from pyro_mcp._readiness import ready_fields

    assert ready_fields(None) == {}
    assert ready_fields({"type": "tcp", "address": "127.0.0.1:80"}) == {"ready_tcp": "127.0.0.1:80"}
    assert ready_fields({"type": "file", "path": "ok"}) == {"ready_file": "ok"}
    for wrong in ["tcp", {}, {"type": "udp"}, {"type": "tcp"}, {"type": "tcp", "url": "x"}]:
        with pytest.raises(errors.InvalidArgumentError):
            ready_fields(wrong)


class Interrupted:
    """A `Pyro` whose deletions Ctrl-C breaks off, so many times."""

    def __init__(self, pyro, times):
        self.pyro = pyro
        self.times = times

    def _call(self, operation, arguments):
        if operation == "workspace_delete" and self.times > 0:
            self.times -= 1
            raise KeyboardInterrupt
        return self.pyro._call(operation, arguments)


def test_ctrl_c_while_a_block_deletes_its_workspace(world, pyro):
    create = {"environment": "debian:12", **world.allowed}
    with pytest.raises(KeyboardInterrupt):
        with Workspace(Interrupted(pyro, 1), create=create):
            pass
    assert pyro.list_workspaces()["count"] == 0
    with pytest.raises(KeyboardInterrupt) as caught, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with Workspace(Interrupted(pyro, 2), create=create) as workspace:
            left = workspace.workspace_id
    said = [*getattr(caught.value, "__notes__", []), *(str(one.message) for one in warned)]
    assert [f"workspace {left} could not be deleted: KeyboardInterrupt"] == said
    pyro.delete_workspace(left)


def test_where_an_error_takes_no_note_a_workspace_that_is_left_is_warned_of():
    class Old(Exception):
        """As before Python 3.11."""

        @property
        def add_note(self):
            raise AttributeError

    with pytest.warns(RuntimeWarning, match="workspace 5f could not be deleted: no room"):
        note_left(Old(), "5f", errors.HostIoError("no room"))
