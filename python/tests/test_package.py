"""What an installation holds, what happens when a part of it is missing, and types."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pyro_mcp

PROGRAMS = Path(sys.prefix, "bin")
PACKAGE = Path(pyro_mcp.__file__).parent


def test_the_installed_package_is_the_one_that_is_tested():
    assert Path(sys.prefix) in PACKAGE.parents
    assert Path(__file__).parents[1] not in PACKAGE.parents


def test_the_programs_are_there():
    for program in ["pyro", "pyro-agent"]:
        assert os.access(PROGRAMS / program, os.X_OK)
    said = subprocess.run([PROGRAMS / "pyro", "--version"], capture_output=True, text=True)
    assert said.stdout == f"pyro {pyro_mcp.__version__}\n"
    for part in ["py.typed", "_pyro.pyi", "results.py"]:
        assert (PACKAGE / part).exists()


def test_importing_is_light(world):
    """Neither asyncio nor the types come along, nor is anything written."""
    out = world.run(
        "import sys; before = set(sys.modules); import pyro_mcp; print(*(set(sys.modules) - before))"
    )
    assert not {"asyncio", "typing", "json", "sysconfig", "pyro_mcp.results"} & set(out.split())
    assert not world.state.exists()


RUN = """
    from pyro_mcp import Pyro
    done = Pyro().run_in_vm(environment="debian:12", command="echo out", allow_host_compat=True)
    print(done["stdout"], end="")
"""


def test_in_a_bare_environment(world):
    bare = world.variables() | {"PATH": "/usr/bin"}
    assert world.run(RUN, env=bare) == "out\n"
    assert world.run(RUN, env=bare | {"PATH": ""}) == "out\n"


def test_variables_name_other_programs(world):
    away = world.folder / "a folder"
    away.mkdir()
    for program in ["pyro", "pyro-agent"]:
        shutil.copy(PROGRAMS / program, away)
    named = os.environ | world.variables() | {"PYRO_BIN": str(away / "pyro")}
    assert world.run(RUN, env=named) == "out\n"


def test_when_a_program_is_missing_every_place_is_named(world):
    """A copy of the package without the programs, as after an installation that broke off."""
    away = world.folder / "lib" / "python" / "site-packages"
    shutil.copytree(PACKAGE, away / "pyro_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    program = """
        import sys, sysconfig
        sys.path.insert(0, sys.argv[1])
        sysconfig.get_path = lambda *args, **more: "/nowhere/scripts"
        from pyro_mcp import Pyro, errors
        assert sys.argv[1] in errors.__file__
        try:
            Pyro()
        except errors.ToolMissingError as error:
            print(error)
    """
    variables = os.environ | world.variables() | {"PATH": "/usr/bin:/nowhere/bin"}
    variables.pop("PYRO_BIN", None)
    said = world.run(program, str(away), env=variables)
    for place in [
        "PYRO_BIN is not set",
        f"{away}/bin/pyro",
        f"{world.folder}/bin/pyro",
        "/nowhere/scripts/pyro",
        "/usr/bin/pyro",
        "/nowhere/bin/pyro",
        "hint: ",
        "make wheel",
    ]:
        assert place in said, place
    # Another program has the package's name on PyPI.
    assert "pyro-mcp" not in said
    (world.folder / "bin").mkdir()
    shutil.copy(PROGRAMS / "pyro", world.folder / "bin")
    variables.pop("PYRO_AGENT", None)
    said = world.run(program, str(away), env=variables)
    for place in ["`pyro-agent`", "PYRO_AGENT is not set", f"{world.folder}/bin/pyro-agent", "hint: "]:
        assert place in said, place
    # With both in the folder of an installation into `--target`, it works from there.
    shutil.copy(PROGRAMS / "pyro-agent", world.folder / "bin")
    assert world.run(program, str(away), env=variables) == ""


def test_when_the_compiled_part_is_missing_the_error_says_where_it_belongs(world):
    away = world.folder / "site-packages"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(PACKAGE, away / "pyro_mcp", ignore=ignored)
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        try:
            import pyro_mcp
        except ImportError as error:
            print(error)
    """
    said = world.run(program, str(away))
    assert f"_pyro.abi3.so in {away}/pyro_mcp" in said and "make wheel" in said


def test_programs_that_use_the_package_are_checked_by_their_types(world):
    good = """
        import asyncio
        from pathlib import Path
        from pyro_mcp import AsyncPyro, Pyro, PyroError, create_server
        from pyro_mcp.results import WorkspaceExecResult
        from pyro_mcp.tools import tool_definitions

        pyro = Pyro()
        code: int = pyro.run_in_vm(environment="debian:12", command="true")["exit_code"]
        with pyro.workspace(environment="debian:12", seed_path=Path(".")) as workspace:
            result: WorkspaceExecResult = workspace.exec(command="true")
            text: str = result["stdout"]
            names: list[str] = [entry["path"] for entry in workspace.list_files()["entries"]]

        async def story() -> str:
            async with AsyncPyro().workspace(environment="debian:12") as workspace:
                return (await workspace.exec(command="true"))["stdout"]

        asyncio.run(story())
        create_server(profile="vm-run").run()
        schemas: list[dict[str, object]] = [tool.input_schema for tool in tool_definitions()]
        try:
            pyro.list_workspaces()
        except PyroError as error:
            hint: str | None = error.hint
    """
    bad = """
        from pyro_mcp import Pyro
        pyro = Pyro()
        pyro.run_in_vm(environment="debian:12", command="true")["exit_cod"]
        pyro.exec_workspace("x", command=5)
        pyro.run_in_vm(command="true")
        pyro.create_workspace(environment="debian:12", network_policy="all")
    """
    assert checked(world, good) == []
    lines = [line.split(":")[1] for line in checked(world, bad) if ": error:" in line]
    assert sorted(set(lines)) == ["4", "5", "6", "7"]


def test_the_package_itself_is_checked_by_its_types(world):
    assert mypy(world, "--package", "pyro_mcp") == []


def checked(world, program):
    path = world.folder / "program.py"
    path.write_text(textwrap.dedent(program))
    return mypy(world, str(path))


def mypy(world, *what):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(world.folder / "mypy"), *what],
        cwd=world.folder,
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()
