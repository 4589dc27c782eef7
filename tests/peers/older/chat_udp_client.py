"""A UDP chat: says a line, hears one, until `q`."""

import socket
import sys

host, port = sys.argv[1].split(":")
encoding = sys.argv[2]
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

while True:
    text = input()
    client.sendto(text.encode(encoding), (host, int(port)))
    if text.upper() == "Q":
        break
    data, address = client.recvfrom(1024)
    if data.upper() == b"Q":
        print("the server has left", flush=True)
        break
    print("server:", data.decode(encoding), flush=True)

client.close()
