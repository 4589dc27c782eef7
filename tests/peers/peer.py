"""Frames in ten lines of Python: all that a peer needs."""

import json
import socket
import struct


def frame(header, body=b""):
    text = json.dumps(dict(header, total_size=len(body))).encode()
    return struct.pack("<i", len(text)) + text + body


def receive(file):
    (length,) = struct.unpack("<i", exactly(file, 4))
    header = json.loads(exactly(file, length))
    return header, exactly(file, header["total_size"])


def exactly(file, length):
    octets = file.read(length)
    if len(octets) != length:
        raise EOFError(f"{len(octets)} octets of {length}")
    return octets


def connect(address):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
