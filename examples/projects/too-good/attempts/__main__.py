"""What a hostile repository tries; each attempt says what it got."""

import sys

import credentials
import exhaust
import network
import traps

ATTEMPTS = {
    "credentials": credentials.look,
    "network": network.call_home,
    "links": traps.links,
    "hooks": traps.hooks,
    "terminal": traps.terminal,
    "disk": exhaust.disk,
    "processes": exhaust.processes,
}

for name in sys.argv[1:]:
    print(f"{name}: {ATTEMPTS[name]()}", flush=True)
