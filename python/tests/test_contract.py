"""The package against `contract/sdk.json`: names, parameters, defaults, and that nothing is
called pending that is built."""

import inspect
import json
from pathlib import Path

import pytest

import pyro_mcp
from pyro_mcp import AsyncPyro, Pyro, PyroError, VmManager, create_server, errors

CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "sdk.json").read_text())
METHODS = CONTRACT["Pyro"]["methods"]

# Methods of the contract that are not built yet.
PENDING: set[str] = set()

# Parameters of the contract that are not built yet.
PENDING_PARAMETERS: set[tuple[str, str]] = set()

# What `Pyro` has beyond the contract.
OURS = {"attach", "manager", "workspace"}


def wanted(parameters, method):
    return {
        parameter["name"]: (
            parameter["keyword_only"],
            inspect.Parameter.empty if parameter["required"] else parameter["default"],
        )
        for parameter in parameters
        if (method, parameter["name"]) not in PENDING_PARAMETERS
    }


def built(function):
    """Parameters as the contract lists them; those beyond it must be optional names."""
    return {
        parameter.name: (
            parameter.kind is inspect.Parameter.KEYWORD_ONLY,
            parameter.default,
        )
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    }


def assert_signature(function, parameters, method):
    have, want = built(function), wanted(parameters, method)
    ours = {name: have.pop(name) for name in list(have) if name not in want}
    assert have == want
    for name, (keyword_only, default) in ours.items():
        assert keyword_only and default is not inspect.Parameter.empty, name
    in_order = [name for name in have if not have[name][0]]
    assert in_order == [name for name in want if not want[name][0]]
    return ours


@pytest.mark.parametrize("method", sorted(set(METHODS) - PENDING))
@pytest.mark.parametrize("surface", [Pyro, AsyncPyro])
def test_methods_are_those_of_the_contract(surface, method):
    function = getattr(surface, method)
    ours = assert_signature(function, METHODS[method]["params"], method)
    pending = [name for pending, name in PENDING_PARAMETERS if pending == method]
    assert not set(pending) & set(ours), "no longer pending"
    assert inspect.getdoc(function)
    if surface is AsyncPyro and method != "create_server":
        assert inspect.iscoroutinefunction(function)


def test_what_is_pending_is_not_built():
    assert PENDING <= set(METHODS)
    assert [method for method in sorted(PENDING) if hasattr(Pyro, method)] == []


def test_there_is_nothing_else():
    public = {name for name in dir(Pyro) if not name.startswith("_")}
    assert public - OURS == set(METHODS) - PENDING
    assert public == {name for name in dir(AsyncPyro) if not name.startswith("_")}


def test_lists_are_lists():
    lists = {name for name, method in METHODS.items() if method["returns"].startswith("list")}
    for method in lists - PENDING:
        assert inspect.signature(getattr(Pyro, method)).return_annotation.startswith("list[")


def test_the_package_is_that_of_the_contract():
    for name in CONTRACT["package"]["exports"]:
        assert hasattr(pyro_mcp, name), name
    create = CONTRACT["package_functions"]["create_server"]["params"]
    assert assert_signature(create_server, create, "create_server") == {}
    made = CONTRACT["Pyro"]["constructor"]["params"]
    assert assert_signature(Pyro.__init__, made, "Pyro") == {}
    assert assert_signature(AsyncPyro.__init__, made, "AsyncPyro") == {}
    for method in ["delete_vm", "delete_workspace"]:
        assert built(getattr(VmManager, method))["reason"] == (True, "explicit_delete")


def test_every_code_has_an_exception_that_existing_programs_catch():
    assert errors.CODES["invalid_argument"] is errors.InvalidArgumentError
    for code, kind in errors.CODES.items():
        assert issubclass(kind, PyroError) and kind.code == code
        # The contract's two kinds, and never both.
        assert issubclass(kind, ValueError) != issubclass(kind, RuntimeError)
