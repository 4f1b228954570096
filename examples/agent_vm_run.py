"""A plain Python loop: candidates are tried, each in a fresh VM, until one passes the test.

Choose this when your own code decides what comes next: no framework, no provider, no transport. The
candidates here are written down; a model's proposals go the same way, and none of them can harm the
next, nor this machine.

    python examples/agent_vm_run.py
"""

from pyro_mcp.tools import tool_definitions

CANDIDATES = [
    "return sorted(numbers)[len(numbers) // 2]",
    "while sorted(numbers): pass",
    "import statistics; return statistics.median(numbers)",
]

PROGRAM = """
def median(numbers):
    {candidate}

assert median([3, 1, 2]) == 2, "odd"
assert median([4, 1, 3, 2]) == 2.5, "even"
"""


def main():
    (run,) = tool_definitions("vm-run")
    for number, candidate in enumerate(CANDIDATES, 1):
        command = f"cat > try.py <<'END'\n{PROGRAM.format(candidate=candidate)}\nEND\npython3 try.py"
        result = run(environment="debian:12", command=command, timeout_seconds=15)
        if result.get("ok") is False:
            raise SystemExit(f"{result['error']}\n{result.get('hint', '')}")
        if result["exit_code"] == 0:
            print(f"candidate {number} passes: {candidate}")
            return
        last = (result["stderr"].strip().splitlines() or [""])[-1]
        why = "took too long" if result["timed_out"] else last
        print(f"candidate {number} fails: {why}")
    raise SystemExit("no candidate passes")


if __name__ == "__main__":
    main()
