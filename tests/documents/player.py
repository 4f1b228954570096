"""Plays one page and tells where it is not true."""

from __future__ import annotations

import importlib
import json
import re
from contextlib import ExitStack, nullcontext

from mcp_stdio import CallError

from . import likeness, links, page, wording
from .child import PATIENCE
from .interpreter import Interpreter
from .server import Server
from .shell import Shell
from .world import World

PLAYED = {"console", "hidden", "json call", "json answer", "python", "text output", "text error"}
# Commands, but not in the form that can be played.
REFUSED = {"sh", "bash", "shell", "shell-session", "zsh"}
SERVE = re.compile(r"^(\w+=\S* )*pyro mcp serve\b[^|;&]*$")


class Player:
    """Problems are `(line, sentence)`; `counts` and `left_out` go into the summary."""

    def __init__(self, path, name, pyro, python):
        self.path, self.name = path, name
        self.pyro, self.python = pyro, python
        self.problems, self.left_out = [], []
        self.counts = {"commands": 0, "calls": 0, "python": 0, "wordings": 0}
        self.server = self.interpreter = None
        self.answer = self.printed = None

    def play(self):
        blocks = page.blocks(self.path.read_text(), self.name)
        self.problems += links.broken(self.path)
        if self.problems:
            return False
        with World(self.pyro) as self.world, self._watch() as watch:
            # The programs of the page have ended before the watch and the world look.
            with ExitStack() as self.open:
                self.shell = Shell(self.world)
                self.open.callback(self.shell.close)
                for block in blocks:
                    self._block(block)
                    # What follows a step that went wrong says nothing.
                    if self.problems:
                        break
                else:
                    self._unread_error(len(blocks) and blocks[-1].line)
            if watch and not self.problems:
                self.problems += [(1, sentence) for sentence in watch.told()]
        # What was broken off could not clear up.
        if not self.problems:
            self.problems += [(1, sentence) for sentence in self.world.problems]
        return not self.problems

    def _watch(self):
        module = "documents.watches." + self.path.stem.replace("-", "_")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name not in (module, "documents.watches"):
                raise
            return nullcontext()
        return found.Watch(self.world)

    def _block(self, block):
        if block.not_played is not None:
            self.left_out.append((block.line, block.not_played))
        elif block.kind == "hidden":
            self._hidden(block)
        elif block.kind == "console":
            self._console(block)
        elif block.kind == "json call":
            self._calls(block)
        elif block.kind == "json answer":
            self._answer(block)
        elif block.kind == "python":
            self._python(block)
        elif block.kind == "text output":
            self._output(block)
        elif block.kind == "text error":
            self._wording(block)
        elif block.kind in REFUSED:
            self._wrong(block.line, "commands belong into a `console` block, with `$ ` before each")

    def _wrong(self, line, sentence):
        self.problems.append((line, sentence))

    def _hidden(self, block):
        status, output = self.shell.run("\n".join(block.text))
        if status != 0:
            self._wrong(block.line, f"ended with {_status(status)}\n{_quote(output)}")

    def _console(self, block):
        steps = page.steps(block, self.name)
        for number, step in enumerate(steps):
            if SERVE.match(step.command):
                self._serve(step.command)
                continue
            self.counts["commands"] += 1
            status, output = self.shell.run(step.command)
            after = steps[number + 1].command if number + 1 < len(steps) else ""
            wanted = _wanted(step, after)
            if wanted is not None and status != wanted or status is None:
                self._wrong(
                    step.line,
                    f"`{step.command}` ended with {_status(status)}, not {wanted}\n{_quote(output)}",
                )
                return
            differs = likeness.output_differs(step.shown, output) if step.shown else None
            if differs is not None:
                line = step.line + step.command.count("\n") + 1 + differs
                self._wrong(
                    line,
                    f"did not come: {step.shown[differs]}\n`{step.command}` printed\n{_quote(output)}",
                )
                return

    def _serve(self, command):
        if self.server:
            self.server.close()
        self.server = Server(self.world, command)
        self.open.callback(self.server.close)

    def _calls(self, block):
        try:
            calls = list(_documents("\n".join(block.text)))
        except ValueError as error:
            self._wrong(block.line, f"the calls are not JSON: {error}")
            return
        if not self.server:
            self._serve("pyro mcp serve")
        if self._unread_error(block.line):
            return
        for call in calls:
            self.counts["calls"] += 1
            try:
                self.answer = (*self.server.call(call["tool"], call["arguments"]), call["tool"])
            except CallError as error:
                self._wrong(block.line, f"`{call['tool']}`: {error}")
                return
            if call is not calls[-1] and self._unread_error(block.line):
                return

    def _unread_error(self, line):
        """A failure that the page does not show: known when no answer follows the call."""
        if self.answer and self.answer[1]:
            facts, _, tool = self.answer
            self._wrong(line, f"`{tool}` failed before: {json.dumps(facts)}")
            return True
        return False

    def _answer(self, block):
        if not self.answer:
            self._wrong(block.line, "there is no call before this answer")
            return
        facts, failed, tool = self.answer
        self.answer = None
        try:
            shown = json.loads("\n".join(block.text))
        except ValueError as error:
            self._wrong(block.line, f"the answer is not JSON: {error}")
            return
        differs = likeness.facts_differ(shown, facts)
        if differs is None and failed and "error" not in shown:
            differs = "it failed"
        if differs:
            self._wrong(block.line, f"`{tool}`: {differs}\n{_quote(json.dumps(facts, indent=1))}")

    def _python(self, block):
        if not self.python:
            self.left_out.append((block.line, "no wheel (`make wheel`)"))
            self.printed = None
            return
        if not self.interpreter:
            self.interpreter = Interpreter(self.world, self.python)
            self.open.callback(self.interpreter.close)
        self.counts["python"] += 1
        # Empty lines in front, so that a traceback tells the line of the page.
        source = "\n" * block.line + "\n".join(block.text)
        status, self.printed = self.interpreter.run(self.name, source)
        if status != 0:
            how = f"took more than {PATIENCE} s" if status is None else "failed"
            self._wrong(block.line, f"the Python block {how}\n{_quote(self.printed)}")

    def _output(self, block):
        if self.printed is None:
            return
        differs = likeness.output_differs(block.text, self.printed)
        if differs is not None:
            self._wrong(
                block.line + 1 + differs,
                f"did not come: {block.text[differs]}\nthe block printed\n{_quote(self.printed)}",
            )

    def _wording(self, block):
        self.counts["wordings"] += 1
        unknown = wording.unknown(block.text)
        if unknown is not None:
            self._wrong(block.line + 1 + unknown, f"pyro does not say: {block.text[unknown]}")


def _wanted(step, after):
    """The exit status that the page tells of; None where the next command shows it."""
    if after.strip() == "echo $?":
        return None
    # So does the command itself, which succeeds then.
    if step.command.rstrip().endswith("echo $?"):
        return 0
    shown = "\n".join(step.shown)
    told = re.findall(r"\bexit_code=(\d+)", shown)
    if told:
        return int(told[-1])
    return 1 if "[error]" in shown else 0


def _status(status):
    return f"no end within {PATIENCE} s" if status is None else f"status {status}"


def _quote(text):
    return "\n".join("    | " + line for line in text.splitlines())


def _documents(text):
    """The JSON documents of a text, one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        document, at = decoder.raw_decode(text, at)
        yield document
