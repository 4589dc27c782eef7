"""A TCP chat: what is said to the client has a JSON header in front."""

import hashlib
import json
import socket
import struct
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
        text = input().encode(encoding)
        header = {
            "filename": "chat.txt",
            "md5": hashlib.md5(text).hexdigest(),
            "total_size": len(text),
        }
        header_bytes = json.dumps(header).encode("utf-8")
        connection.send(struct.pack("i", len(header_bytes)))
        connection.send(header_bytes)
        connection.send(text)
        if text.upper() == b"Q":
            break
    connection.close()
