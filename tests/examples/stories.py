"""What each example must do, and what the model says in it."""

import os

from story import Story

# What no prompt and no script holds: only the guest knows its kernel.
ROUND = [
    {
        "call": "vm_run",
        "arguments": {
            "environment": "debian:12",
            "command": "python3 -c 'print(round(0.5), round(1.5), round(2.5))'; uname -r",
        },
        "expect": r'"exit_code": ?0',
        "capture": {"answer": r"\b(\d \d \d)\\n", "kernel": r"(\d+\.\d+\.\d+[\w+.-]*)\\n"},
    },
    {"say": "It prints {answer}, half to even, on {kernel}."},
]
ROUNDED = [r"It prints 0 2 2, half to even, on \d+\.\d+\.\d+\S*\."]

AT = {"workspace_id": "{id}"}
MENDED = """\
--- a/median.py
+++ b/median.py
@@ -3,4 +3,5 @@

 def median(numbers):
     ordered = sorted(numbers)
-    return ordered[len(ordered) // 2]
+    middle = len(ordered) // 2
+    return (ordered[middle] + ordered[-middle - 1]) / 2
"""
MEND = [
    # The task names the workspace in words, which a script does not read.
    {
        "call": "workspace_list",
        "expect": r'"count": ?1\b',
        "capture": {"id": r'"workspace_id": ?"([\w-]+)"'},
    },
    {
        "call": "workspace_exec",
        "arguments": AT | {"command": "python3 -m unittest"},
        "expect": r"AssertionError: 3 != 2\.5",
    },
    {
        "call": "workspace_file_read",
        "arguments": AT | {"path": "median.py"},
        "expect": r"len\(ordered\) // 2",
    },
    # Models forget things, and must be told.
    {
        "call": "workspace_patch_apply",
        "arguments": AT,
        "expect": r'(?=.*"ok": ?false)(?=.*patch)',
    },
    {
        "call": "workspace_patch_apply",
        "arguments": AT | {"patch": MENDED},
        "expect": r"median\.py",
    },
    {
        "call": "workspace_exec",
        "arguments": AT | {"command": "python3 -m unittest"},
        "expect": r"Ran (\d) tests.*OK",
        "capture": {"tests": r"Ran (\d) tests"},
    },
    {"say": "Even counts took one of the two; {tests} tests pass now."},
]
MENDING = [
    "Even counts took one of the two; 2 tests pass now.",
    r"\+\+\+ b/examples/median/median\.py",
    r"\+    return \(ordered\[middle\]",
    "the tests pass",
]


def streaming_or_not(file, script, prints, protocol):
    """Both ways."""
    return [Story(file, prints, words, script, protocol) for words in ([], ["--stream"])]


STORIES = [
    *streaming_or_not("openai_responses_vm_run.py", ROUND, ["vm_run", *ROUNDED], "responses"),
    *streaming_or_not("openai_responses_workspace_core.py", MEND, MENDING, "responses"),
    *streaming_or_not("anthropic_messages_workspace_core.py", MEND, MENDING, "messages"),
    *streaming_or_not("chat_completions_vm_run.py", ROUND, ["vm_run", *ROUNDED], "chat_completions"),
    *streaming_or_not("langchain_vm_run.py", ROUND, ["vm_run", *ROUNDED], "chat_completions"),
    *streaming_or_not(
        "pydantic_ai_vm_run.py", ROUND, [*ROUNDED, "2 requests, 1 tool calls"], "chat_completions"
    ),
    *streaming_or_not("openai_agents_vm_run.py", ROUND, ["vm_run", *ROUNDED], "responses"),
    Story(
        "agent_vm_run.py",
        [
            "candidate 1 fails: AssertionError: even",
            "candidate 2 fails: took too long",
            "candidate 3 passes: import statistics",
        ],
    ),
    Story("python_run.py", [r"git version 2\.", r"\d+\.\d+\.\d+\S*\n", r"exit code 0 after \d+ ms"]),
    Story(
        "python_lifecycle.py",
        [
            "created: created",
            "started: started",
            "it has 512 MiB",
            r"ran: \d+\.\d+\.\d+\S*",
            "gone: unknown_vm",
        ],
    ),
    Story(
        "python_workspace.py",
        [r"before: FAILED \(failures=1\)", "after: OK", r"\+    return \(", "exported: 7 lines"],
    ),
    Story(
        "python_shell.py",
        [r"median\(\)", r"\(\[1, 2, 3, 4\], 3\)", r"\n?still in /workspace"],
    ),
    Story(
        "rust_run.rs",
        [r"before: exit code 1", "after: exit code 0", r"\+    return \("],
        command=[os.environ["PYRO_EXAMPLES_RUST"]],
    ),
]
