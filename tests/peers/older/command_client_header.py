"""A remote command client: a reply is 4 octets of length, a JSON header, and the octets that it tells of."""

import hashlib
import json
import socket
import struct
import sys

host, port = sys.argv[1].split(":")
encoding = sys.argv[2]
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, int(port)))
client.settimeout(30)

while True:
    command = input()
    if not command:
        continue
    client.send(command.encode(encoding))
    if command.upper() == "Q":
        break
    header_size = struct.unpack("i", client.recv(4))[0]
    header = json.loads(client.recv(header_size).decode("utf-8"))
    assert set(header) == {"filename", "md5", "total_size"}, header
    received = b""
    while len(received) < header["total_size"]:
        received += client.recv(1024)
    assert hashlib.md5(received).hexdigest() == header["md5"], header
    sys.stdout.write(received.decode(encoding))
    sys.stdout.flush()

assert client.recv(1024) == b""
client.close()
