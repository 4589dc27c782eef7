"""A remote command server: the output goes back behind its length, 4 octets."""

import socket
import struct
import sys

from run import output

encoding = sys.argv[1]
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 0))
server.listen(5)
print("listening", server.getsockname()[1], flush=True)

while True:
    connection, address = server.accept()
    while True:
        command = connection.recv(1024)
        if not command or command.upper() == b"Q":
            print("goodbye" if command else "gone", flush=True)
            break
        reply = output(command.decode(encoding), encoding)
        connection.send(struct.pack("i", len(reply)))
        connection.send(reply)
    connection.close()
