"""The other side of a UDP request/reply loop."""

import socket
import sys

host, port = sys.argv[1].split(":")
encoding = sys.argv[2]
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(30)

while True:
    text = input()
    if text.upper() == "Q":
        client.sendto(text.encode(encoding), (host, int(port)))
        break
    if not text:
        continue
    client.sendto(text.encode(encoding), (host, int(port)))
    data, address = client.recvfrom(65507)
    sys.stdout.write(data.decode(encoding))

client.close()
