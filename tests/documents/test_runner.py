"""The runner itself: a page that is not true has to be found out. Needs no VM."""

import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from .likeness import facts_differ, output_differs
from .page import PageError, blocks
from .player import Player
from .world import PREFIX

# Stands for `pyro`: no page here calls more of it than this.
PROGRAM = """\
#!/bin/sh
[ "$1" != mcp ] || exec python3 -c "$SERVER"
echo "[workspace-exec] workspace_id=0123456789ab exit_code=${1:-0} duration_ms=17"
exit ${1:-0}
"""

# Its server: every tool answers with its arguments.
SERVER = """\
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "tools/call":
        facts = asked["params"]["arguments"]
        result = {"structuredContent": facts, "isError": "error" in facts}
    else:
        result = {}
    if "id" in asked:
        print(json.dumps({"id": asked["id"], "result": result}), flush=True)
"""


class Pages(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.program = Path(self.folder.name, "pyro")
        self.program.write_text(PROGRAM.replace("$SERVER", SERVER.replace('"', '\\"')))
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def play(self, text, name="page.md"):
        page = Path(self.folder.name, name)
        page.write_text(text)
        player = Player(page, name, self.program, sys.executable)
        player.play()
        return player

    def found(self, text):
        return [line for line, _ in self.play(text).problems]

    def test_what_is_true_is_true(self):
        player = self.play(
            "# A page\n\n```console\n$ one=1; cd /\n$ echo $one; pwd >&2\n1\n/\n```\n\n"
            "```console\n$ pyro 3\n[workspace-exec] … exit_code=3 duration_ms=5\n"
            "$ seq 9\n1\n...\n9\n$ cat <<END\n> a\n> END\na\n"
            "$ for n in 1 2; do\n>  echo $n\n  echo $n\ndone\n1\n1\n2\n2\n$ false\n$ echo $?\n1\n```\n"
        )
        self.assertEqual(player.problems, [])
        self.assertEqual(player.counts["commands"], 8)

    def test_output_that_did_not_come_is_found_by_its_line(self):
        self.assertEqual(self.found("```console\n$ seq 3\n1\n2\n4\n```\n"), [5])
        self.assertEqual(self.found("```console\n$ seq 3\n1\n2\n```\n"), [4])
        self.assertEqual(self.found("```console\n$ true\nwords\n```\n"), [3])

    def test_a_status_that_the_page_does_not_show_is_found(self):
        self.assertEqual(self.found("```console\n$ false\n```\n"), [2])
        self.assertEqual(self.found("```console\n$ pyro 3\n… exit_code=4 …\n```\n"), [2])
        self.assertEqual(self.found("```console\n$ nothing-of-this-name\n```\n"), [2])

    def test_a_hidden_command_counts(self):
        self.assertEqual(self.found("<!-- played here: false -->\n"), [1])

    def test_what_is_left_out_has_a_reason_and_is_counted(self):
        player = self.play("<!-- not played: needs root -->\n\n```console\n$ false\n```\n")
        self.assertEqual((player.problems, player.left_out), ([], [(3, "needs root")]))
        with self.assertRaises(PageError):
            blocks("<!-- not played: -->\n```console\n$ a\n```\n", "page.md")
        with self.assertRaises(PageError):
            blocks("<!-- not played: lost -->\nwords\n", "page.md")

    def test_links_that_lead_nowhere_are_found(self):
        self.assertEqual(self.found("[a](page.md) [b](page.md#one-two)\n\n# One two\n"), [])
        self.assertEqual(self.found("[a](gone.md)\n[b](page.md#three)\n"), [1, 2])

    def test_words_that_pyro_does_not_have_are_found(self):
        good = "```text error\n[error] An installed environment is damaged\n```\n"
        self.assertEqual(self.found(good), [])
        self.assertEqual(self.found(good.replace("damaged", "a little damaged")), [2])

    def test_commands_in_another_dress_are_refused(self):
        self.assertEqual(self.found("words\n```sh\nmake\n```\n"), [2])

    def test_python_is_compared_and_remembers(self):
        good = "```python\none = 1\n```\n\n```python\nprint(one)\n```\n\n```text output\n1\n```\n"
        self.assertEqual(self.found(good), [])
        self.assertEqual(self.found(good.replace("output\n1", "output\n2")), [10])
        self.assertEqual(self.found("```python\nraise ValueError()\n```\n"), [1])

    def test_answers_of_tools_are_compared(self):
        call = '```json call\n{"tool": "echo", "arguments": {"a": 1}}\n```\n\n'
        fails = call.replace('"a": 1', '"error": "no"')
        answer = '```json answer\n{"a": 1}\n```\n'
        self.assertEqual(self.found(call + answer + call), [])
        self.assertEqual(self.found(call + answer.replace("1", "2")), [5])
        self.assertEqual(self.found(fails + '```json answer\n{"error": "…"}\n```\n'), [])
        # A failure that the page does not show, in the middle and at the end.
        self.assertEqual(self.found(fails + call), [5])
        self.assertEqual(self.found(fails), [1])
        self.assertEqual(self.found(answer), [1])
        self.assertEqual(self.found("```json call\n{\n```\n"), [1])

    def test_nothing_stays(self):
        # Nobody else on this machine sleeps for exactly as long.
        sleep = f"sleep 300.{os.getpid()}"
        self.play(f"```console\n$ {sleep} &\n$ touch file\n```\n")
        names = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith(PREFIX)]
        mine = [name for name in names if _owner(Path(tempfile.gettempdir(), name)) == os.getpid()]
        self.assertEqual(mine, [])
        listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True).stdout
        self.assertNotIn(sleep, [line.split(None, 1)[-1] for line in listed.splitlines()])


    def test_the_watch_sees_a_theft(self):
        """What the hostile repository does outside of a VM is noticed, attempt by attempt."""
        attack = "```console\n$ cd examples/projects/too-good && python3 -B attempts {}\n```\n"
        for attempt, sentence in {
            "credentials": "holds a stolen secret",
            "network": "listeners of this host heard",
            "links hooks": "files of the reader have changed",
        }.items():
            problems = self.play(attack.format(attempt), "untrusted-inspection.md").problems
            self.assertTrue(any(sentence in told for _, told in problems), (attempt, problems))
        self.assertEqual(self.play("words\n", "untrusted-inspection.md").problems, [])


class Likeness(unittest.TestCase):
    def test_ids_and_times_are_not_compared(self):
        self.assertIsNone(output_differs(["id=0123456789ab took_ms=1"], "id=ba9876543210 took_ms=2"))
        self.assertIsNone(output_differs(["Ran 2 tests in 0.001s"], "Ran 2 tests in 1.5s"))
        self.assertEqual(output_differs(["Ran 2 tests in 0.001s"], "Ran 3 tests in 0.001s"), 0)

    def test_what_a_one_shot_vm_is_is_not_compared(self):
        shown = "[run] environment=debian:12 execution_mode=guest_vsock exit_code=0"
        self.assertIsNone(output_differs([shown], shown.replace("guest_vsock", "gvisor")))
        self.assertEqual(output_differs([shown], shown.replace("guest_vsock", "host_compat")), 0)
        shown = shown.replace("run", "workspace-exec")
        self.assertEqual(output_differs([shown], shown.replace("guest_vsock", "gvisor")), 0)

    def test_facts(self):
        came = {"a": 1, "list": [1, 2], "text": "one two", "more": {"b": None}}
        for shown in (
            {},
            {"a": 1, "…": "…"},
            {"list": [1, "…"]},
            {"text": "one…"},
            {"more": {"b": None}},
            {"a": "…"},
        ):
            self.assertIsNone(facts_differ(shown, came), shown)
        for shown in (
            {"a": 2},
            {"a": True},
            {"a": "1"},
            {"missing": "…"},
            {"list": [1]},
            {"list": [1, 2, 3]},
            {"text": "one"},
            {"more": {"b": 0}},
        ):
            self.assertIsNotNone(facts_differ(shown, came), shown)


def _owner(folder):
    """Who holds the lock of a page's folder."""
    try:
        inode = os.stat(folder / "lock").st_ino
    except OSError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[5].rsplit(":", 1)[-1] == str(inode):
            return int(words[4])
    return os.getpid()


if __name__ == "__main__":
    unittest.main()
