"""Whether what a page links to is there: files of the checkout, and headings in them."""

from __future__ import annotations

import re

LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^ *```")


def broken(path):
    """`(line, sentence)` for each link that leads nowhere. Addresses of the web are not looked at."""
    found, inside = [], False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        inside ^= bool(FENCE.match(line))
        for target in [] if inside else LINK.findall(line):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, heading = target.partition("#")
            there = (path.parent / name) if name else path
            if not there.exists():
                found.append((number, f"links to `{target}`, which is not there"))
            elif heading and there.suffix == ".md" and heading not in _headings(there):
                found.append((number, f"links to `{target}`, and there is no such heading"))
    return found


def _headings(path):
    """As the usual renderers name them."""
    lines = [line.lstrip("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
