"""A UDP chat: hears a line of anybody, and answers it."""

import socket
import sys

encoding = sys.argv[1]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print("listening", server.getsockname()[1], flush=True)

while True:
    data, address = server.recvfrom(1024)
    if data.upper() == b"Q":
        print("the client has left", flush=True)
        continue
    print("client:", data.decode(encoding), flush=True)
    text = input()
    server.sendto(text.encode(encoding), address)
    if text.upper() == "Q":
        break

server.close()
