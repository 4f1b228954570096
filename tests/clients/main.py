"""Real MCP clients against `pyro mcp serve`.

Each module here holds the stories of one client, as functions named `test_*`. Every story gets a
world: a state folder and a home of its own. `scripts/clients` installs the clients and runs this.
"""

import importlib
import sys
import time
import traceback

from world import World


def stories(name):
    module = importlib.import_module(f"{name}_client")
    for story, function in vars(module).items():
        if story.startswith("test_"):
            for case in getattr(function, "cases", [()]):
                words = " ".join([name, story.removeprefix("test_").replace("_", " "), *case])
                yield words, function, case


def main(names):
    passed = failed = 0
    for name in names:
        for words, function, case in stories(name):
            started = time.monotonic()
            try:
                with World() as world:
                    function(world, *case)
            except Exception:
                traceback.print_exc()
                failed += 1
                print(f"FAILED  {words}", flush=True)
            else:
                passed += 1
                print(f"ok      {words} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"clients: {passed} passed, {failed} failed")
    # No story at all would be no success.
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
