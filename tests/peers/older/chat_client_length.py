"""A TCP chat: what the server says has its length in front, 4 octets."""

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
    total_size = struct.unpack("i", client.recv(4))[0]
    received = b""
    while len(received) < total_size:
        received += client.recv(1024)
    if received.upper() == b"Q":
        print("the server has left", flush=True)
        break
    print("server:", received.decode(encoding), flush=True)

client.close()
