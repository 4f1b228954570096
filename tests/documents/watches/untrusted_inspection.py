"""Proves that the hostile repository of the page gets nothing.

The machine is made worth robbing: keys in the reader's home, a token in a variable, listeners on every
address. The repository is told the addresses. First it is run here, without a VM, and has to find all
of that, so that finding nothing in the guest means something.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading

KEY_FILES = (".ssh/id_ed25519", ".aws/credentials", ".git-credentials")


class Watch:
    def __init__(self, world):
        self.world = world
        self.value = secrets.token_hex(16)
        world.more["CLOUD_API_TOKEN"] = self.value
        self.project = world.checkout / "examples" / "projects" / "too-good"

    def __enter__(self):
        for name in KEY_FILES:
            file = self.world.home / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(self.value)
        self.listeners = Listeners()
        try:
            addresses = "\n".join(f"{at}:{self.listeners.port}" for at in _own_addresses())
            (self.project / "attempts" / "known-addresses.txt").write_text(addresses)
            self._would_succeed_without_a_vm()
        except BaseException:
            self.listeners.close()
            raise
        self.before = self._fingerprint()
        return self

    def __exit__(self, *_error):
        self.listeners.close()

    def told(self):
        """What went wrong, as sentences."""
        problems = []
        heard = self.listeners.heard()
        if heard:
            problems.append(f"listeners of this host heard {heard}")
        if self._fingerprint() != self.before:
            problems.append("files of the reader have changed, or there are new ones")
        problems += [f"{file} holds a stolen secret" for file in self._stolen()]
        if subprocess.run(["true"], timeout=10).returncode != 0:
            problems.append("this host cannot start a process any more")
        return problems

    def _would_succeed_without_a_vm(self):
        ran = subprocess.run(
            [sys.executable, "-B", "attempts", "credentials", "network"],
            cwd=self.project,
            env=self.world.variables(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        missed = [name for name in KEY_FILES if name not in ran.stdout]
        if missed or "CLOUD_API_TOKEN" not in ran.stdout or ran.returncode != 0:
            raise AssertionError(f"the attempts find nothing even here: {ran.stdout}{ran.stderr}")
        heard = self.listeners.heard()
        if {kind for kind, _ in heard} != {"tcp", "udp"}:
            raise AssertionError(f"the listeners hear nothing even from here: {heard}")
        self.listeners.forget()

    def _fingerprint(self):
        """Every file that the reader had, by content."""
        found = {}
        for root in (self.world.home, self.world.checkout / "examples"):
            for file in sorted(root.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    found[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    def _stolen(self):
        """What the page printed or took out, and all that pyro keeps."""
        for root in (self.world.checkout, self.world.state, self.world.folder / "steps"):
            for folder, _, names in os.walk(root):
                for name in names:
                    file = os.path.join(folder, name)
                    if os.path.islink(file) or not os.path.isfile(file):
                        continue
                    with open(file, "rb") as opened:
                        if self.value.encode() in opened.read():
                            yield file


class Listeners:
    """One port, TCP and UDP, on every address of this host."""

    def __init__(self):
        self.tcp, self.udp = _one_port()
        self.port = self.tcp.getsockname()[1]
        # Taken in for as long as there are any.
        self.tcp.setblocking(False)
        self.ended = threading.Event()
        self.events = []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def heard(self):
        # What was sent before has come when this has come.
        mark = secrets.token_bytes(8)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark, ("127.0.0.1", self.port))
        for _ in range(1000):
            if any(said == mark for _, said in self.events):
                break
            self.ended.wait(0.01)
        else:
            raise AssertionError("the listeners have gone deaf")
        return [(kind, said) for kind, said in self.events if said != mark and len(said) != 8]

    def forget(self):
        self.events.clear()

    def close(self):
        self.ended.set()
        self.thread.join(5)
        self.tcp.close()
        self.udp.close()

    def _listen(self):
        with selectors.DefaultSelector() as ready:
            ready.register(self.tcp, selectors.EVENT_READ)
            ready.register(self.udp, selectors.EVENT_READ)
            while not self.ended.is_set():
                if not (came := {key.fileobj for key, _ in ready.select(timeout=0.1)}):
                    continue
                # All connections first: a mark that comes as a packet was sent after them.
                for connection in _waiting(self.tcp):
                    with connection:
                        connection.settimeout(1)
                        try:
                            said = connection.recv(100)
                        except OSError:
                            said = b""
                    self.events.append(("tcp", said))
                if self.udp in came:
                    self.events.append(("udp", self.udp.recv(100)))


def _one_port():
    """A server and a socket for packets at the same port, which is free for both."""
    while True:
        tcp = socket.create_server(("0.0.0.0", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(("0.0.0.0", tcp.getsockname()[1]))
            return tcp, udp
        except OSError as error:
            tcp.close()
            udp.close()
            if error.errno != errno.EADDRINUSE:
                raise


def _waiting(server):
    """The connections that have come."""
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return
        yield connection


def _own_addresses():
    """Loopback, and the address that this host has towards others (nothing is sent to find it)."""
    found = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
            found.append(asked.getsockname()[0])
        except OSError:
            pass
    return found
