"""One run of an example: what is started, and what must come of it."""

import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripted_model import Model, Script
from world import PYRO

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass
class Story:
    file: str
    # Patterns of what it prints, in this order.
    prints: list[str]
    words: list[str] = field(default_factory=list)
    # What the model says, and in which of the protocols; none where no model is needed.
    script: list[dict] = field(default_factory=list)
    protocol: str = ""
    command: list[str] = field(default_factory=list)

    def __str__(self):
        return " ".join([self.file, *self.words])

    def play(self, world):
        with Model(Script(self.script)) as model:
            command = self.command or [sys.executable, str(EXAMPLES / self.file)]
            ran = world.run([*command, *self.words], **surroundings(model))
            assert not model.astray, (model.astray, ran)
            assert ran.returncode == 0, ran
            self.check_output(ran.stdout)
            self.check_model(model)
        # Whatever it made is gone with it.
        left = world.run([PYRO, "workspace", "list", "--json"])
        assert json.loads(left.stdout)["workspaces"] == [], left
        world.wait_for_no_vm()

    def check_output(self, out):
        # This machine's own kernel would mean that no VM was there.
        assert os.uname().release not in out, out
        at = 0
        for pattern in self.prints:
            found = re.compile(pattern).search(out, at)
            assert found, f"no {pattern!r} behind character {at} of:\n{out}"
            at = found.end()

    def check_model(self, model):
        turns = [turn for name, turn in model.turns if name == self.protocol and turn.tools]
        # One request for each call, and one for the end: every result has arrived there.
        assert len(turns) == len(self.script), model.turns
        calls = [number for number, step in enumerate(self.script) if "call" in step]
        if turns:
            assert len(turns[-1].results) == len(calls), turns[-1]
        streamed = "--stream" in self.words
        assert all(turn.streaming is streamed for turn in turns), turns


def surroundings(model):
    """The vendors' own variables, and no way to anything but the model."""
    nowhere = "http://127.0.0.1:9"
    return {
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{model.url}/v1",
        "OPENAI_MODEL": "scripted",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_MODEL": "scripted",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1",
        "PYTHONUTF8": "1",
    }
