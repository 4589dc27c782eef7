"""Sends what is typed and prints what comes back: a bare chunk each, until `q`."""

import socket
import sys

host, port = sys.argv[1].split(":")
encoding = sys.argv[2]
client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((host, int(port)))
client.settimeout(30)

while True:
    text = input()
    if not text:
        continue
    client.send(text.encode(encoding))
    if text.upper() == "Q":
        break
    data = client.recv(1024)
    sys.stdout.write(data.decode(encoding))
    sys.stdout.flush()

# The server has closed, and has nothing more to say.
assert client.recv(1024) == b""
client.close()
