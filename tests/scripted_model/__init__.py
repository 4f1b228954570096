"""A model that plays a script, for tests and examples of programs that talk to one.

It speaks the Chat Completions, Responses and Messages protocols, streaming or not, on this
machine only, and needs nothing but Python. What it says is written down beforehand, so the real
client, the real tools and everything between them are exercised without an account:

    from scripted_model import Model, Script

    script = Script([
        {"call": "vm_run", "arguments": {"environment": "debian:12", "command": "echo 42"},
         "expect": "42", "capture": {"answer": r"(\\d+)"}},
        {"say": "It is {answer}."},
    ])
    with Model(script) as model:
        client = OpenAI(base_url=model.url + "/v1", api_key="none")

or `python3 tests/scripted_model SCRIPT.json`, which prints the address and serves until it is ended.
"""

from .script import Script
from .server import Model

__all__ = ["Model", "Script"]
