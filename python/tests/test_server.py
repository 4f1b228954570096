"""`create_server`: in process and on stdio, the same as `pyro mcp serve`."""

import asyncio
import os
import signal
import sys

import pytest
from conftest import PATIENCE
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from pyro_mcp import Pyro, create_server, errors
from pyro_mcp.tools import tool_definitions

PROFILES = ["vm-run", "workspace-core", "workspace-full"]

# Ids and times differ between two runs of the same story.
CHANGING = ("_id", "_at", "_ms", "duration", "path", "boot")


def serves(command, *args, world):
    return StdioServerParameters(
        command=command, args=list(args), env=os.environ | world.variables(), cwd=world.folder
    )


def pyro_mcp_serve(world, profile):
    return serves(os.path.join(sys.prefix, "bin", "pyro"), "mcp", "serve", "--profile", profile, world=world)


def python_run(world, profile):
    program = f"from pyro_mcp import create_server; create_server(profile={profile!r}).run()"
    return serves(sys.executable, "-c", program, world=world)


async def asked(server, story):
    async with stdio_client(server) as (read, write):
        async with ClientSession(read, write) as session:
            await session.initialize()
            return await asyncio.wait_for(story(session), PATIENCE)


def plain(model):
    return model.model_dump(by_alias=True, exclude_none=True, mode="json")


def still(value, name=""):
    """A value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: still(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [still(one, name) for one in value]
    return type(value).__name__ if any(part in name for part in CHANGING) else value


@pytest.mark.parametrize("profile", PROFILES)
def test_tools_are_those_of_pyro_mcp_serve(world, profile):
    async def listed(session):
        return [plain(tool) for tool in (await session.list_tools()).tools]

    async def story():
        here = await create_server(profile=profile).list_tools()
        served = await asked(pyro_mcp_serve(world, profile), listed)
        run = await asked(python_run(world, profile), listed)
        assert [dict(tool) for tool in here] == served == run
        assert [tool.name for tool in here] == [tool["name"] for tool in served]

    asyncio.run(story())


def test_results_are_those_of_pyro_mcp_serve(world):
    create = {"environment": "debian:12", "allow_host_compat": True}

    async def calls(call):
        created = await call("workspace_create", create)
        workspace_id = created["structuredContent"]["workspace_id"]
        told = [
            created,
            await call("workspace_exec", {"workspace_id": workspace_id, "command": "echo out; exit 3"}),
            await call("workspace_file_write", {"workspace_id": workspace_id, "path": "a", "text": "x"}),
            await call("workspace_diff", {"workspace_id": workspace_id}),
            await call("workspace_delete", {"workspace_id": workspace_id}),
            await call("workspace_exec", {"workspace_id": "nothing", "command": "true"}),
            await call("workspace_exec", {"workspace_id": "nothing", "what": "true"}),
            await call("nothing", {}),
        ]
        # Texts for people hold ids as well.
        return [
            (still(one["structuredContent"]), one["isError"], [part["type"] for part in one["content"]])
            for one in told
        ]

    async def over_stdio(session):
        async def call(name, arguments):
            return plain(await session.call_tool(name, arguments))

        return await calls(call)

    async def story():
        here = await calls(create_server().call_tool)
        assert here == await asked(pyro_mcp_serve(world, "workspace-core"), over_stdio)
        assert here == await asked(python_run(world, "workspace-core"), over_stdio)
        assert [is_error for _, is_error, _ in here] == [False] * 5 + [True] * 3

    asyncio.run(story())


def test_a_server_has_the_settings_of_its_pyro(world, tmp_path):
    pyro = Pyro(base_dir=tmp_path / "elsewhere")
    server = pyro.create_server()
    assert (server.name, server.profile) == ("pyro_mcp", "workspace-core")
    made = server.call("workspace_create", {"environment": "debian:12", "allow_host_compat": True})
    assert made.isError is False
    assert pyro.list_workspaces()["count"] == 1
    assert Pyro().list_workspaces()["count"] == 0
    pyro.delete_workspace(made.structuredContent["workspace_id"])


def test_bad_input(world):
    for wrong in ["everything", "", None, 5]:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            create_server(profile=wrong)
        assert "profile" in str(caught.value)
    server = create_server()
    with pytest.raises(errors.InvalidArgumentError):
        server.run(transport="http")
    with pytest.raises(errors.InvalidArgumentError):
        server.call("workspace_list", ["a"])


def test_serving_ends_with_the_client_and_with_ctrl_c(world):
    program = "from pyro_mcp import create_server; create_server().run(); print('back', flush=True)"
    with world.start(program) as process:
        out, err = process.communicate("", timeout=60)
        assert (process.returncode, out) == (0, "back\n"), err
    with world.start(program) as process:
        process.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert '"id":1' in process.stdout.readline()
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0 and "KeyboardInterrupt" in err


SERVES = """
    import asyncio, signal
    from pyro_mcp import create_server

    async def story():
        serving = asyncio.create_task(create_server().run_stdio_async())
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            print("back", flush=True)
            raise

    asyncio.run(story())
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_task_that_serves_ends_when_it_is_cancelled(world, number):
    """By itself, and by Ctrl-C; the client's end stays open."""
    with world.start(SERVES) as process:
        process.stdin.write('{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert '"id":1' in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(60) != 0
        # Standard output is the program's own again.
        assert process.stdout.read() == "back\n"
        assert ("KeyboardInterrupt" in process.stderr.read()) == (number == signal.SIGINT)


def test_a_task_that_serves_ends_with_the_client(world):
    program = "import asyncio; from pyro_mcp import create_server; asyncio.run(create_server().run_stdio_async()); print('back')"
    with world.start(program) as process:
        out, err = process.communicate("", timeout=60)
        assert (process.returncode, out) == (0, "back\n"), err


@pytest.mark.parametrize("profile", PROFILES)
def test_definitions_for_frameworks_are_the_tools(world, profile):
    server = create_server(profile=profile)
    tools = tool_definitions(profile)
    assert [(tool.name, tool.description, tool.input_schema) for tool in tools] == [
        (tool["name"], tool["description"], tool["inputSchema"]) for tool in server.tools()
    ]


def test_definitions_can_be_called(world):
    (run,) = tool_definitions("vm-run")
    arguments = '{"environment": "debian:12", "command": "echo out", "allow_host_compat": true}'
    assert run(arguments)["stdout"] == "out\n"
    assert asyncio.run(run.acall(arguments))["stdout"] == "out\n"
    assert run(environment="debian:12", command="exit 3", allow_host_compat=True)["exit_code"] == 3
    # For the model to read.
    refused = run(environment="debian:99", command="true", allow_host_compat=True)
    assert (refused["ok"], refused["code"]) == (False, "unknown_environment")
    with pytest.raises(errors.InvalidArgumentError):
        run("{")
