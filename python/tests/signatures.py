"""What `contract/sdk.json` says of a method's parameters, against what is built. Needs nothing but
Python, so that every interpreter can look."""

import inspect
import json
from pathlib import Path

CONTRACT = json.loads((Path(__file__).parents[2] / "contract" / "sdk.json").read_text())
METHODS = CONTRACT["Pyro"]["methods"]

# Methods of the contract that are not built yet.
PENDING: set[str] = set()

# Parameters of the contract that are not built yet.
PENDING_PARAMETERS: set[tuple[str, str]] = set()

# What the contract requires and a parameter of ours can take the place of: `stop` ends a command and
# takes none, and an image says what it runs. What is missing is asked for when the call is made.
INSTEAD = {("exec_workspace", "command"), ("run_in_vm", "command")}


def wanted(parameters, method):
    def default(parameter):
        if (method, parameter["name"]) in INSTEAD:
            return None
        return inspect.Parameter.empty if parameter["required"] else parameter["default"]

    return {
        parameter["name"]: (parameter["keyword_only"], default(parameter))
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
    assert have == want, method
    for name, (keyword_only, default) in ours.items():
        assert keyword_only and default is not inspect.Parameter.empty, name
    in_order = [name for name in have if not have[name][0]]
    assert in_order == [name for name in want if not want[name][0]], method
    return ours
