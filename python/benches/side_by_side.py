"""pyro's package next to its peer, in one run: import, `exec true`, the server's list, the wheel.

    scripts/python bench [ROUNDS] [--write]

In each round every contender has its turn, each round beginning with another. `--write` puts the
report into docs/benchmarks.md.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from contenders import Unavailable, ours, peer

ROUNDS = 10
# Of `exec`, in each round.
TURNS = 5

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN = "<!-- printed by `scripts/python bench`: begin -->\n"
END = "<!-- printed by `scripts/python bench`: end -->\n"

ROWS = {
    "import": ("`import pyro_mcp`, in a fresh interpreter", 40),
    "exec": ('`Pyro().exec_workspace(id, command="true")`', 15),
    "tools": ("`pyro mcp serve`, from its start to the answer of tools/list", None),
}


def measured(contenders, rounds):
    """Times by step and contender, and why there are none."""
    times, why = {}, {}
    workspaces = {}
    for who in contenders:
        try:
            (workspaces[who.name],) = who.step("create")
        except Unavailable as reason:
            why["exec", who.name] = str(reason)
    try:
        for number in range(-1, rounds):
            order = contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
            for step, who in ((step, who) for step in ROWS for who in order):
                if (step, who.name) in why:
                    continue
                words = {"exec": [workspaces.get(who.name), str(TURNS)], "tools": [who.program]}
                try:
                    printed = who.step(step, *words.get(step, []))
                except Unavailable as reason:
                    why[step, who.name] = str(reason)
                    continue
                # The first round fills caches.
                if number >= 0:
                    times.setdefault((step, who.name), []).extend(map(float, printed))
    finally:
        for who in contenders:
            if who.name in workspaces:
                who.step("delete", workspaces[who.name])
    return times, why


def report(contenders, absent, rounds, times, why):
    lines = ["**Machine**", "", *(f"- {fact}" for fact in machine()), ""]
    lines += [
        f"{rounds} rounds, `exec` {TURNS} times in each. The peer runs `true` on the host, without "
        "isolation; pyro runs it in a VM.",
        "",
        "| milliseconds | who | median | min | max | n | goal |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for step, (what, goal) in ROWS.items():
        for who in contenders:
            found = times.get((step, who.name))
            if not found:
                lines.append(f"| {what} | {who.name} | not measured: {why.get((step, who.name))} |||||")
                continue
            median = statistics.median(found)
            told = ""
            if goal and who is contenders[0]:
                told = f"≤ {goal}: {'met' if median <= goal else 'missed'}"
            lines.append(
                f"| {what} | {who.name} | {median:.1f} | {min(found):.1f} | {max(found):.1f} "
                f"| {len(found)} | {told} |"
            )
        if absent:
            lines.append(f"| {what} | the peer | not measured: {absent} |||||")
    lines += ["", "| wheel | MiB | goal |", "|---|--:|---|"]
    for who in contenders:
        size = who.wheel.stat().st_size / (1 << 20)
        told = f"≤ 25: {'met' if size <= 25 else 'missed'}" if who is contenders[0] else ""
        lines.append(f"| `{who.wheel.name}` | {size:.1f} | {told} |")
    return "\n".join(lines) + "\n"


def machine():
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return [
        f"{os.cpu_count()} processors ({processor}), {memory:.0f} GiB of memory",
        f"kernel {platform.release()}, Python {platform.python_version()}",
        f"load (1, 5, 15 minutes) after the rounds: {load}",
    ]


def write(text):
    old = DOCUMENT.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{DOCUMENT} lacks the marks {BEGIN!r} and {END!r}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(words):
    given = [word for word in words if word != "--write"]
    rounds = int(given[0]) if given else ROUNDS
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as folder:
        contenders, absent = [ours(Path(folder))], None
        try:
            contenders.append(peer(Path(folder)))
        except Unavailable as reason:
            absent = str(reason)
        times, why = measured(contenders, rounds)
        text = report(contenders, absent, rounds, times, why)
    print(text)
    if "--write" in words:
        write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
