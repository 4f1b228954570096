"""`pyro_mcp.tools`: the forms of providers, and answers that a model can take."""

import asyncio
import json

import pytest

from pyro_mcp import create_server
from pyro_mcp._bounded import bounded
from pyro_mcp.tools import tool_definitions

PROFILES = ["vm-run", "workspace-core", "workspace-full"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_form_is_the_declaration(world, profile):
    declared = {tool["name"]: tool for tool in create_server(profile=profile).tools()}
    tools = tool_definitions(profile)
    responses, chat, anthropic = tools.openai_responses(), tools.openai_chat(), tools.anthropic()
    assert len(responses) == len(chat) == len(anthropic) == len(declared)
    for one, other, third in zip(responses, chat, anthropic):
        wanted = declared[one["name"]]
        assert (one["type"], other["type"]) == ("function", "function")
        assert one["parameters"] == wanted["inputSchema"]
        assert one["description"] == wanted["description"]
        assert other["function"] == {
            "name": wanted["name"],
            "description": wanted["description"],
            "parameters": wanted["inputSchema"],
        }
        assert third == {
            "name": wanted["name"],
            "description": wanted["description"],
            "input_schema": wanted["inputSchema"],
        }
    # Whatever a client library does with it, it goes out as JSON.
    json.dumps([responses, chat, anthropic])


def both(tools, name, arguments, **more):
    """An answer, which is the same when it is awaited."""
    answers = [
        tools.answer(name, arguments, **more),
        asyncio.run(tools.aanswer(name, arguments, **more)),
    ]
    facts = [json.loads(answer.encode()) for answer in answers]
    assert facts[0].get("stdout") == facts[1].get("stdout")
    assert facts[0].get("error") == facts[1].get("error")
    return facts[0]


def test_what_goes_wrong_is_an_answer(world):
    tools = tool_definitions("workspace-core")
    for name, arguments, code, words in [
        ("workspace_exec", '{"workspace_id": "nothing", "command": "true"}', "unknown_workspace", "nothing"),
        ("workspace_exec", '{"workspace_id": ', "invalid_argument", "not JSON"),
        ("workspace_exec", "[1]", "invalid_argument", "must be an object"),
        ("workspace_exec", '{"command": "true"}', "invalid_argument", "workspace_id"),
        ("workspace_exec", {"workspace_id": 5, "command": ["a"]}, "invalid_argument", ""),
        ("workspace_exec", "[" * 100_000, "invalid_argument", "deep"),
        ("workspace_exec", '{"command": ' + "[" * 20 + "]" * 20 + "}", "invalid_argument", "deep"),
        ("workspace_exec", '{"\\ud800": 1}', "invalid_argument", "not valid Unicode"),
        ("workspace_exec", '{"command": "\\ud800"}', "invalid_argument", "not valid Unicode"),
        ("workspace_create", '{"labels": {"\\ud800": "a"}}', "invalid_argument", "labels"),
        ("workspace_remove", "{}", "unsupported", "workspace_remove"),
        ("\ud800", "{}", "unsupported", "Unknown tool"),
        ("", None, "unsupported", ""),
    ]:
        facts = both(tools, name, arguments)
        assert (facts["ok"], facts["code"]) == (False, code), facts
        assert words in json.dumps(facts), facts
    # As a server would have refused it.
    refused = create_server().call("workspace_exec", {"workspace_id": "nothing", "command": "true"})
    there = tools.answer("workspace_exec", {"workspace_id": "nothing", "command": "true"})
    assert json.loads(there) == refused.structuredContent


def test_answers_are_bounded(world):
    tools = tool_definitions("vm-run")
    command = "echo begin; seq 100000; echo end; seq 100000 >&2; exit 3"
    arguments = {"environment": "debian:12", "command": command, "allow_host_compat": True}
    for limit in [30_000, 4_000, 1_500]:
        text = tools.answer("vm_run", arguments, longest=limit)
        facts = json.loads(text)
        assert len(text) <= limit
        assert facts["exit_code"] == 3
        assert facts["stdout"].startswith("begin\n1\n") and facts["stdout"].endswith("\nend\n")
        assert "left out" in facts["stdout"]
    assert len(tools.answer("vm_run", arguments)) <= 32_768
    assert both(tools, "vm_run", arguments, longest=2_000)["exit_code"] == 3


def test_what_is_too_much_loses_its_middle():
    short = {"ok": True, "text": "ä" * 50, "list": [1, 2, 3]}
    assert json.loads(bounded(short)) == short
    long = {"entries": [{"path": f"file-{number}"} for number in range(10_000)], "exit_code": 0}
    facts = json.loads(bounded(long, 2_000))
    assert facts["entries"][0] == {"path": "file-0"}
    assert facts["entries"][-1] == {"path": "file-9999"}
    assert any(isinstance(entry, str) and "entries left out" in entry for entry in facts["entries"])
    many = {f"field-{number}": number for number in range(1_000)} | {"exit_code": 7}
    facts = json.loads(bounded(many, 500))
    assert facts["exit_code"] == 7 and "500" in facts["left_out"]
