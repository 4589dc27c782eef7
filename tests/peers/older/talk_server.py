"""A TCP loop that a `q` ends, one client after the other."""

import socket
import sys

encoding = sys.argv[1]
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("127.0.0.1", 0))
server.listen(5)
print("listening", server.getsockname()[1], flush=True)

while True:
    connection, address = server.accept()
    while True:
        data = connection.recv(1024)
        if data.upper() == b"Q":
            print("goodbye", flush=True)
            break
        if not data:
            print("gone", flush=True)
            break
        text = data.decode(encoding)
        print("heard", ascii(text), flush=True)
        connection.send(text.upper().encode(encoding))
    connection.close()
