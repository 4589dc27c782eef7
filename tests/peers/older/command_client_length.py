"""A remote command client: a reply is 4 octets of length, and so many octets."""

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
    prefix = client.recv(4)
    total_size = struct.unpack("i", prefix)[0]
    received = b""
    while len(received) < total_size:
        received += client.recv(1024)
    sys.stdout.write(received.decode(encoding))
    sys.stdout.flush()

assert client.recv(1024) == b""
client.close()
