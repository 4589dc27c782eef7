"""usage: board.py RESPONDER BARE MIB

A board's responder beside an echo on smoltcp alone, on the same emulated board: how long a small echo takes, and how fast a
large one goes. Both are asked in turns by a Python without anything installed, and every octet is compared.
"""

import json
import os
import socket
import statistics
import struct
import sys
import threading
import time

SMALL = 100
ROUND_TRIPS = 1000
ROUNDS = 3


def frame(body):
    header = json.dumps({"op": "echo", "total_size": len(body)}).encode()
    return struct.pack("<i", len(header)) + header + body


class Framed:
    """The responder's echo."""

    def __init__(self, address):
        self.connection = connect(address)
        self.file = self.connection.makefile("rb")

    def send(self, body):
        self.connection.sendall(frame(body))

    def receive(self, length):
        (header_length,) = struct.unpack("<i", self.file.read(4))
        header = json.loads(self.file.read(header_length))
        assert header == {"total_size": length}, header
        return self.file.read(length)


class Bare:
    """The echo of what comes."""

    def __init__(self, address):
        self.connection = connect(address)
        self.file = self.connection.makefile("rb")

    def send(self, body):
        self.connection.sendall(body)

    def receive(self, length):
        return self.file.read(length)


def connect(address):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def round_trip(echo):
    """Seconds from a small echo's request to its reply: the median."""
    body = os.urandom(SMALL)
    times = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        echo.send(body)
        reply = echo.receive(SMALL)
        times.append(time.perf_counter() - start)
        assert reply == body
    return statistics.median(times)


def rate(echo, body):
    """Octets in a second, there and back."""
    sender = threading.Thread(target=echo.send, args=(body,), daemon=True)
    start = time.perf_counter()
    sender.start()
    reply = echo.receive(len(body))
    seconds = time.perf_counter() - start
    sender.join()
    assert reply == body, "other octets came back"
    return len(body) / seconds


def main(responder, bare, mib):
    body = os.urandom(1 << 20) * int(mib)
    kinds = {"responder": (Framed, responder), "bare smoltcp": (Bare, bare)}
    trips = {name: [] for name in kinds}
    rates = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, (kind, address) in kinds.items():
            trips[name].append(round_trip(kind(address)))
            rates[name].append(rate(kind(address), body))
    for name in kinds:
        print(
            f"{name:>12}: {min(trips[name]) * 1e6:7.1f} us a round trip of {SMALL} octets, "
            f"{max(rates[name]) / 1e6:6.2f} MB/s over {mib} MiB, octets equal"
        )
    trip = min(trips["responder"]) / min(trips["bare smoltcp"])
    speed = max(rates["responder"]) / max(rates["bare smoltcp"])
    print(f"       ratio: {trip:.2f} times the round trip, {speed:.2f} times the rate (best of {ROUNDS})")


if __name__ == "__main__":
    main(*sys.argv[1:])
