"""Whether pyro still has the words that a page quotes, where they cannot be provoked cheaply."""

from __future__ import annotations

import functools
import re

from .likeness import ANY
from .world import ROOT

# How a message is printed, around its words.
AROUND = re.compile(r"^(\[\w+\] |hint: | *cause: )")


def unknown(lines):
    """None, or the index of the first line of which pyro's source has no such words."""
    for number, line in enumerate(lines):
        words = AROUND.sub("", line)
        pieces = [piece.strip() for piece in ANY.split(words) if piece.strip(" `.,:")]
        if not pieces or not all(piece in _source() for piece in pieces):
            return number
    return None


@functools.cache
def _source():
    """All literals of the product's source, with its line breaks taken out."""
    files = [*ROOT.glob("crates/*/src/**/*.rs"), *ROOT.glob("python/pyro_mcp/*.py")]
    text = "\n".join(path.read_text() for path in sorted(files))
    return re.sub(r"\\\n\s*", "", text).replace('\\"', '"')
