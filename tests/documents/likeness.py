"""Compares what a page shows with what came."""

from __future__ import annotations

import re

# What differs from one time to the next.
PASSING = [
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "MOMENT"),
    (re.compile(r"\b(at|\w+_(?:ms|at|left_seconds))=[\d.]+"), r"\1=N"),
    (re.compile(r"\baccelerator=\w+"), "accelerator=ANY"),
    # What a one-shot VM is depends on the host; what a workspace is does not.
    (re.compile(r"^(\[run\] .*)\bexecution_mode=(guest_vsock|gvisor)\b"), r"\1execution_mode=GUEST"),
    (re.compile(r"\b(in|after) \d+\.\d+ ?s\b"), r"\1 N s"),
]

# What is told only once in the life of a machine's cache.
ONCE = ("[template] ", "[progress] ", "[pull] ")

ANY = re.compile(r"…|\.\.\.")


def output_differs(shown, came):
    """None, or the index of the first line of `shown` that did not come."""
    shown = [_still(line) for line in shown if not line.startswith(ONCE)]
    came = [_still(line) for line in came.splitlines() if not line.startswith(ONCE)]
    text = "".join(line + "\n" for line in came)
    if re.fullmatch("".join(map(_line, shown)), text):
        return None
    for length in range(1, len(shown) + 1):
        if not re.match("".join(map(_line, shown[:length])), text):
            return length - 1
    # All that is shown came, and more after it.
    return len(shown) - 1


def facts_differ(shown, came, path=""):
    """None, or a sentence about the first fact of `shown` that `came` does not have."""
    if isinstance(shown, dict) and isinstance(came, dict):
        for name, value in shown.items():
            if ANY.fullmatch(name):
                continue
            if name not in came:
                return f"`{path}{name}` is missing; there are {', '.join(came)}"
            differs = facts_differ(value, came[name], f"{path}{name}.")
            if differs:
                return differs
        return None
    if isinstance(shown, list) and isinstance(came, list):
        more = bool(shown) and shown[-1] in ("…", "...")
        wanted = shown[:-1] if more else shown
        if len(came) < len(wanted) or (len(came) > len(wanted) and not more):
            return f"`{path[:-1]}` has {len(came)} parts, not {len(wanted)}"
        for number, value in enumerate(wanted):
            differs = facts_differ(value, came[number], f"{path}{number}.")
            if differs:
                return differs
        return None
    if isinstance(shown, str):
        if isinstance(came, str) and _like(shown, came):
            return None
        # `"…"` stands for any value.
        if ANY.fullmatch(shown):
            return None
    elif type(shown) is type(came) and shown == came:
        return None
    return f"`{path[:-1]}` is {came!r}, not {shown!r}"


def _like(shown, came):
    pattern = "(?s:.*?)".join(re.escape(_still(part)) for part in ANY.split(shown))
    return re.fullmatch(pattern, _still(came)) is not None


def _line(line):
    if ANY.fullmatch(line.strip()):
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*?".join(re.escape(part) for part in ANY.split(line.rstrip())) + r"[ \t]*\n"


def _still(text):
    for pattern, instead in PASSING:
        text = pattern.sub(instead, text)
    return text
