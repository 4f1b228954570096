"""Tries what a guest may and may not reach, and prints as JSON what came of it."""

import errno
import json
import os
import select
import socket
import struct
import sys
import threading
import time

PORT, HOLD = 7777, 7778


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address, port=PORT, patience=8):
    with socket.socket(family(address), socket.SOCK_STREAM) as sock:
        sock.settimeout(patience)
        try:
            sock.connect((address, port))
            return sock.recv(5).decode() or "end"
        except socket.timeout:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def udp(address, port=PORT, patience=0.7):
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        sock.settimeout(patience)
        try:
            sock.connect((address, port))
            sock.send(b"hello")
            return sock.recv(100).decode()
        except socket.timeout:
            return "timeout"
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(address, patience=0.7):
    v6 = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    with socket.socket(family(address), socket.SOCK_RAW, protocol) as sock:
        kind, reply = (128, 129) if v6 else (8, 0)
        packet = struct.pack("!BBHHH8s", kind, 0, 0, 77, 1, b"pyropyro")
        if not v6:
            packet = struct.pack("!BBHHH8s", kind, 0, checksum(packet), 77, 1, b"pyropyro")
        end = time.monotonic() + patience
        try:
            sock.sendto(packet, (address, 0))
            while (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                answer = sock.recv(2000)
                answer = answer if v6 else answer[20:]
                if answer[0] == reply:
                    return "answer"
                if answer[0] in (3, 1) and not (answer[0] == 1 and not v6):
                    return "prohibited"
        except socket.timeout:
            pass
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
        return "timeout"


def look(addresses):
    return {a: {"tcp": tcp(a), "udp": udp(a), "icmp": ping(a)} for a in addresses}


def glance(addresses):
    """The same where most of them are silent."""
    return {a: {"tcp": tcp(a, patience=1.5), "udp": udp(a), "icmp": ping(a)} for a in addresses}


def names(wanted):
    found = {}
    for name in wanted:
        try:
            found[name] = socket.gethostbyname(name)
        except OSError:
            found[name] = None
    return found


def download(address, count, pause=0.0):
    with socket.create_connection((address, PORT)) as sock:
        sock.settimeout(90)
        assert sock.recv(5) == b"hello"
        sock.sendall(b"d" + struct.pack("!Q", count))
        time.sleep(pause)
        got, wrong = 0, 0
        while chunk := sock.recv(1 << 18):
            if chunk[0] != got % 251 or chunk[-1] != (got + len(chunk) - 1) % 251:
                wrong += 1
            got += len(chunk)
        return [got, wrong]


def upload(address, count):
    with socket.create_connection((address, PORT)) as sock:
        sock.settimeout(90)
        assert sock.recv(5) == b"hello"
        sock.sendall(b"u")
        left, chunk = count, bytes(1 << 18)
        while left:
            sock.sendall(chunk[: min(left, len(chunk))])
            left -= min(left, len(chunk))
        sock.shutdown(socket.SHUT_WR)
        return struct.unpack("!Q", sock.recv(8, socket.MSG_WAITALL))[0]


def transfers(address):
    """Big ones, with a reader beside them that does not read for a while."""
    slow = {}
    reader = threading.Thread(target=lambda: slow.update(got=download(address, 12 << 20, 3)))
    reader.start()
    time.sleep(0.5)
    beside = download(address, 6 << 20)
    up = upload(address, 6 << 20)
    waited = reader.is_alive()
    reader.join()
    return {"beside": beside, "up": up, "slow": slow.get("got"), "slow_was_slow": waited}


def many(address, count):
    """Opens connections without closing one, and says how many there are."""
    socks, opened, refused = [], 0, 0
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    while len(socks) < count:
        # As many as are under way at once.
        started = [socket.socket(socket.AF_INET, kind) for _ in range(min(200, count - len(socks)))]
        socks += started
        waiting = select.poll()
        for sock in started:
            sock.connect_ex((address, HOLD))
            waiting.register(sock, select.POLLOUT)
        left = len(started)
        while left:
            # What is asked less often is told more at once.
            time.sleep(0.02)
            told = waiting.poll(20_000)
            for number, event in told:
                waiting.unregister(number)
                if event & (select.POLLERR | select.POLLHUP):
                    refused += 1
                else:
                    opened += 1
            assert told, "nobody answers"
            left -= len(told)
    print(json.dumps({"opened": opened, "refused": refused}), flush=True)
    sys.stdin.readline()


def scan(address, first, last):
    """The ports that are open, and how the others answer."""
    found = {}
    for port in range(first, last):
        with socket.socket() as sock:
            sock.settimeout(8)
            told = sock.connect_ex((address, port))
        word = "open" if told == 0 else errno.errorcode.get(told, "?")
        found.setdefault(word, []).append(port)
    for port in range(first, last):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"?", (address, port))
    return {word: ports if len(ports) < 9 else len(ports) for word, ports in found.items()}


def mischief(target, forbidden):
    """Packets that no honest guest sends."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    me, there, no = (socket.inet_aton(a) for a in ("192.0.0.2", target, forbidden))
    sent = 0

    def header(src, dst, protocol, length, first=0x45, offset=0, ttl=64):
        return struct.pack("!BBHHHBBH4s4s", first, 0, length, 7, offset, ttl, protocol, 0, src, dst)

    syn = struct.pack("!HHIIBBHHH", 4000, PORT, 1, 0, 0x50, 2, 1000, 0, 0)
    for src in (me, no, there, socket.inet_aton("127.0.0.1"), socket.inet_aton("192.0.0.1")):
        for dst in (there, no):
            for protocol in (0, 1, 2, 6, 17, 41, 47, 50, 132, 255):
                for offset in (0, 0x2000, 0x1FFF, 0x4001):
                    for body in (b"", b"\x00", syn, syn[:13], os.urandom(60), b"\xff" * 1400):
                        packet = header(src, dst, protocol, 20 + len(body), offset=offset) + body
                        try:
                            raw.sendto(packet, (target, 0))
                            sent += 1
                        except OSError:
                            pass
    for size in (0, 1, 65000):
        for kind in range(0, 256, 5):
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_RAW, kind or 254) as sock:
                    sock.sendto(bytes(size), (target, 0))
                    sent += 1
            except OSError:
                pass
    return sent > 1000


def answer(what, *arguments):
    arguments = [int(a) if a.isdigit() else a for a in arguments]
    if what in ("look", "glance", "names"):
        arguments = [arguments]
    told = globals()[what](*arguments)
    if told is not None:
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        answer(*sys.argv[1:])
    # A question in each line, as Python begins slowly where everything is emulated.
    else:
        for line in sys.stdin:
            answer(*line.split())
