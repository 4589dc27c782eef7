"""A TCP chat: says a line, hears one, until `q`."""

import socket
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
    data = client.recv(1024)
    if not data or data.upper() == b"Q":
        print("the server has left", flush=True)
        break
    print("server:", data.decode(encoding), flush=True)

client.close()
