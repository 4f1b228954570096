"""A shell in a workspace: a terminal whose folder, variables and programs stay between calls.

Choose this for what asks back or goes on, a debugger for instance; for everything else
`exec_workspace` is simpler.

    python examples/python_shell.py
"""

from pathlib import Path

from pyro_mcp import Pyro

PROJECT = Path(__file__).parent / "median"

DEBUG = "python3 -c 'import pdb, median; pdb.runcall(median.median, [4, 1, 3, 2])'"


def main():
    with Pyro().workspace(environment="debian:12", seed_path=PROJECT) as workspace:
        shell = Shell(workspace)
        shell.type(DEBUG, "(Pdb)")
        shell.type("next", "(Pdb)")
        shell.type("p ordered, ordered[len(ordered) // 2]", "(Pdb)")
        shell.type("continue", "pyro$")
        shell.type("echo still in $PWD", "pyro$")
        workspace.close_shell(shell.shell_id)


class Shell:
    def __init__(self, workspace):
        self.workspace = workspace
        self.shell_id = workspace.open_shell()["shell_id"]
        self.cursor = 0

    def type(self, line, prompt):
        """Types a line, and prints what comes until there is a prompt again."""
        self.workspace.write_shell(self.shell_id, input=line)
        seen = ""
        for _ in range(60):
            read = self.workspace.read_shell(
                self.shell_id, cursor=self.cursor, plain=True, wait_for_idle_ms=300
            )
            self.cursor = read["next_cursor"]
            print(read["output"], end="", flush=True)
            seen += read["output"]
            if seen.rstrip().endswith(prompt):
                return
        raise SystemExit(f"no {prompt} came after {line}")


if __name__ == "__main__":
    main()
