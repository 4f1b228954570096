"""Every piece of Python in docs/python.md runs as it stands, on real VMs, also the server that reads
its standard input until that ends. `scripts/documents` plays the other pages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

TEST = """
import unittest

class Sums(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(1 + 1, 3)
"""


def test_snippets_run(vms):
    page = (ROOT / "docs/python.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert snippets
    project = vms.folder / "my-project"
    project.mkdir()
    (project / "test_sums.py").write_text(TEST)
    # One after the other in one program, as a reader pastes them.
    out = vms.run("\n".join(snippets))
    told = ["git version 2.", "+FAIL: test_sum", "apt 2.", "create it first", "'7\\n'"]
    for words in [*told, '"stdout":"42\\n"', "Unknown tool: vm_walk"]:
        assert words in out, words
    assert "AssertionError: 2 != 3" in (vms.folder / "notes.txt").read_text()
