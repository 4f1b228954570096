"""The package against `contract/sdk.json`: names, parameters, defaults, and that nothing is
called pending that is built."""

import inspect

import pytest
from signatures import CONTRACT, METHODS, PENDING, PENDING_PARAMETERS, assert_signature, built

import pyro_mcp
from pyro_mcp import AsyncPyro, Pyro, PyroError, VmManager, create_server, errors

# What `Pyro` has beyond the contract.
OURS = {
    "attach",
    "build_environment",
    "create_environment",
    "delete_environment",
    "export_environment",
    "import_environment",
    "manager",
    "workspace",
}


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
