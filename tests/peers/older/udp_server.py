"""A UDP request/reply loop: says back what it hears, in capitals."""

import socket
import sys

encoding = sys.argv[1]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print("listening", server.getsockname()[1], flush=True)

while True:
    data, address = server.recvfrom(1024)
    text = data.decode(encoding)
    print("heard", ascii(text), flush=True)
    server.sendto(text.upper().encode(encoding), address)
