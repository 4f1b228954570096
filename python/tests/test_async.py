"""`AsyncPyro`: the same methods without holding up the event loop."""

import asyncio

import pytest
from conftest import eventually

from pyro_mcp import AsyncPyro, errors


def test_many_calls_at_once(world):
    async def story():
        pyro = AsyncPyro()
        async with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
            calls = [workspace.exec(command=f"sleep 0.1; echo {n}") for n in range(20)]
            results = await asyncio.gather(*calls)
            assert [result["stdout"] for result in results] == [f"{n}\n" for n in range(20)]
            pieces = []
            await workspace.exec(command="seq 100000", on_output=lambda *p: pieces.append(p))
            heard = b"".join(what for _, what in pieces)
            assert heard.split() == [b"%d" % n for n in range(1, 100001)]
            with pytest.raises(errors.UnknownFileError):
                await workspace.read_file("not here")
            with pytest.raises(errors.InvalidArgumentError):
                await workspace.exec(command=5)
        assert (await pyro.list_workspaces())["count"] == 0

    asyncio.run(story())


def test_a_call_that_is_cancelled_ends_its_command(world):
    async def story():
        pyro = AsyncPyro()
        async with pyro.workspace(environment="debian:12", **world.allowed) as workspace:
            begun = asyncio.Event()
            call = asyncio.create_task(
                workspace.exec(
                    command="echo begun; exec sleep 1003",
                    timeout_seconds=900,
                    on_output=lambda *_: begun.set(),
                )
            )
            await begun.wait()
            await asyncio.to_thread(eventually, lambda: world.sleeping(1003))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(eventually, lambda: not world.sleeping(1003))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(workspace.exec(command="exec sleep 1003"), 0.5)
            await asyncio.to_thread(eventually, lambda: not world.sleeping(1003))

            def hear(stream, what):
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await workspace.exec(command="echo begun; exec sleep 1003", on_output=hear)
            await asyncio.to_thread(eventually, lambda: not world.sleeping(1003))

    asyncio.run(story())


def test_an_exception_in_a_block_deletes_the_workspace(world):
    async def story():
        pyro = AsyncPyro()
        with pytest.raises(ZeroDivisionError):
            async with pyro.workspace(environment="debian:12", **world.allowed):
                1 / 0
        assert (await pyro.list_workspaces())["count"] == 0

    asyncio.run(story())


def test_a_workspace_that_was_made_too_late_is_deleted(world, pyro):
    """The engine was done before the cancelled task could know."""

    async def story():
        entering = asyncio.create_task(
            AsyncPyro().workspace(environment="debian:12", **world.allowed).__aenter__()
        )
        await asyncio.sleep(0)
        # Holds up the event loop until the workspace is there, and of use.
        eventually(lambda: pyro.list_workspaces()["count"] == 1)
        (made,) = pyro.list_workspaces()["workspaces"]
        assert pyro.exec_workspace(made["workspace_id"], command="true")["exit_code"] == 0
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert pyro.list_workspaces()["count"] == 0

    asyncio.run(story())


def test_a_block_that_is_cancelled_while_it_deletes_its_workspace_deletes_it(world, pyro):
    async def story():
        entered = asyncio.Event()

        async def block():
            async with AsyncPyro().workspace(environment="debian:12", **world.allowed):
                entered.set()

        leaving = asyncio.create_task(block())
        await entered.wait()
        for _ in range(3):
            leaving.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert pyro.list_workspaces()["count"] == 0

    asyncio.run(story())
