"""Serves a script from a file, until it is interrupted."""

import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripted_model import Model, Script  # noqa: E402


def main(words):
    if len(words) not in (1, 2):
        sys.exit("usage: scripted_model SCRIPT.json [PORT]")
    script = Script(json.loads(Path(words[0]).read_text()))
    with Model(script, port=int(words[1]) if words[1:] else 0) as model:
        print(model.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
