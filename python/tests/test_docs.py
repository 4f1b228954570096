"""Every piece of Python in the documents runs as it stands, on real VMs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TEST = """
import unittest

class Sums(unittest.TestCase):
    def test_sum(self):
        self.assertEqual(1 + 1, 3)
"""


@pytest.mark.parametrize("document", ["docs/python.md", "README.md", "python/README.md"])
def test_snippets_run(vms, document):
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert snippets
    project = vms.folder / "my-project"
    project.mkdir()
    (project / "test_sums.py").write_text(TEST)
    # One after the other in one program, as a reader pastes them.
    out = vms.run("\n".join(snippets))
    if document == "docs/python.md":
        told = ["git version 2.", "+FAIL: test_sum", "apt 2.", "create it first", "'7\\n'"]
        for words in [*told, '"stdout":"42\\n"', "Unknown tool: vm_walk"]:
            assert words in out, words
        assert "AssertionError: 2 != 3" in (vms.folder / "notes.txt").read_text()
