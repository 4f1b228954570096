"""Reads a page of Markdown: its blocks of code, where they are, and the marks before them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import Optional

FENCE = re.compile(r"^( *)(`{3,})([^`]*)$")
COMMENT = re.compile(r"<!--\s*(not played|played here):(.*?)-->", re.DOTALL)


class PageError(Exception):
    """The page itself is wrong."""


@dataclass
class Block:
    """A fenced block, or a command in a comment (`hidden`)."""

    kind: str
    line: int
    text: list[str]
    not_played: Optional[str] = None


@dataclass
class Step:
    """A command of a console block, and what the page shows below it."""

    line: int
    command: str
    shown: list[str] = field(default_factory=list)


def blocks(text, name):
    """All blocks of a page in their order."""
    lines = text.split("\n")
    found, reason, at = [], None, 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("<!--"):
            comment, used = _comment(lines, at, name)
            mark = COMMENT.fullmatch(comment.strip())
            if mark and mark[1] == "not played":
                reason = mark[2].strip()
                if not reason:
                    raise PageError(f"{name}:{at + 1}: `not played` needs a reason")
            elif mark:
                found.append(Block("hidden", at + 1, mark[2].strip().split("\n")))
            at += used
            continue
        fence = FENCE.match(line)
        if not fence:
            if line.strip() and reason:
                raise PageError(f"{name}:{at + 1}: `not played` stands before no block")
            at += 1
            continue
        indent, ticks, kind = fence.groups()
        end = next(
            (n for n in range(at + 1, len(lines)) if lines[n].strip() == ticks),
            None,
        )
        if end is None:
            raise PageError(f"{name}:{at + 1}: the block never ends")
        body = [_dedent(line, len(indent)) for line in lines[at + 1 : end]]
        found.append(Block(kind.strip(), at + 1, body, reason))
        reason, at = None, end + 1
    return found


def steps(block, name):
    """The commands of a console block."""
    found = []
    for number, line in enumerate(block.text, block.line + 1):
        if line.startswith("$ "):
            found.append(Step(number, line[2:]))
        elif not found:
            raise PageError(f"{name}:{number}: a console block begins with `$ `")
        elif not found[-1].shown and _unfinished(found[-1].command):
            # As it is pasted, or as a terminal shows it.
            found[-1].command += "\n" + (line[2:] if line[:2] == "> " else line)
        else:
            found[-1].shown.append(line)
    return found


def _unfinished(command):
    """Whether bash would ask for another line."""
    if command.endswith("\\"):
        return True
    looked = subprocess.run(
        ["bash", "-n"], input=command + "\n", capture_output=True, text=True, timeout=10
    )
    return "unexpected end of file" in looked.stderr or "unexpected EOF" in looked.stderr or (
        "delimited by end-of-file" in looked.stderr
    )


def _comment(lines, at, name):
    """A comment from its first line to its last."""
    for end in range(at, len(lines)):
        if "-->" in lines[end]:
            return "\n".join(lines[at : end + 1]), end + 1 - at
    raise PageError(f"{name}:{at + 1}: the comment never ends")


def _dedent(line, width):
    return line[min(width, len(line) - len(line.lstrip(" "))) :]
