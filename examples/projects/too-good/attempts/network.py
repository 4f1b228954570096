"""Tries to call home, and to reach what is near: the host, its cloud's metadata service."""

import socket
from pathlib import Path

ADDRESSES = [
    ("169.254.169.254", 80),
    ("10.0.2.2", 22),
    ("10.0.2.3", 53),
    ("192.168.0.1", 80),
    ("1.1.1.1", 443),
]
# Where an attacker knows the victim's own addresses, they are in here.
KNOWN = Path(__file__).with_name("known-addresses.txt")


def call_home():
    addresses = list(ADDRESSES)
    if KNOWN.exists():
        lines = KNOWN.read_text().split()
        # What is known is enough, where it is known.
        addresses = [(line.rpartition(":")[0], int(line.rpartition(":")[2])) for line in lines]
        addresses += [("169.254.169.254", 80)]
    got = []
    for address, port in addresses:
        try:
            with socket.create_connection((address, port), timeout=1) as connection:
                connection.sendall(b"hello from the inside\n")
                got.append(f"{address}:{port}")
        except OSError:
            pass
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto(b"hello from the inside\n", (address, port))
        except OSError:
            pass
    return ", ".join(got) or "nothing"
