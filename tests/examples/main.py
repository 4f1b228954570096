"""Runs the examples as people do: `python examples/NAME.py`, with a model that plays a script.

`stories.py` says what each must print, and what the model is to see of it. `scripts/examples` makes
the environment and runs this. Two run at a time.
"""

import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "clients")]

from stories import STORIES  # noqa: E402
from world import World  # noqa: E402

EXAMPLES = TESTS.parent / "examples"


def play(story):
    began = time.monotonic()
    try:
        with World() as world:
            story.play(world)
    except Exception:
        traceback.print_exc()
        print(f"FAILED  {story}", flush=True)
        return False
    print(f"ok      {story} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def main(parts):
    untold = {path.name for path in EXAMPLES.glob("*.py")} - {story.file for story in STORIES}
    if untold:
        print(f"examples: nothing runs {', '.join(sorted(untold))}")
        return 1
    chosen = [story for story in STORIES if not parts or any(part in str(story) for part in parts)]
    with ThreadPoolExecutor(2) as two:
        outcomes = list(two.map(play, chosen))
    print(f"examples: {sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    # No story at all would be no success.
    return 0 if outcomes and all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
