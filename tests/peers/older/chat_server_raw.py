"""A TCP chat: hears a line, says one, until `q`; then the next client."""

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
        if not data:
            print("the client is gone", flush=True)
            break
        if data.upper() == b"Q":
            print("the client has left", flush=True)
            break
        print("client:", data.decode(encoding), flush=True)
        text = input()
        connection.send(text.encode(encoding))
        if text.upper() == "Q":
            break
    connection.close()
