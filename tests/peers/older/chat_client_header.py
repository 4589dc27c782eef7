"""A TCP chat: what the server says has a JSON header in front."""

import hashlib
import json
import socket
import struct
import sys

host, port = sys.argv[1].split(":")
encoding = sys.argv[2]
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, int(port)))

while True:
    text = input()
    client.send(text.encode(encoding))
    if text.upper() == "Q":
        break
    header_size = struct.unpack("i", client.recv(4))[0]
    header = json.loads(client.recv(header_size).decode("utf-8"))
    received = b""
    while len(received) < header["total_size"]:
        received += client.recv(1024)
    assert header["md5"] == hashlib.md5(received).hexdigest()
    if received.upper() == b"Q":
        print("the server has left", flush=True)
        break
    print("server:", received.decode(encoding), flush=True)

client.close()
