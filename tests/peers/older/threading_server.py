"""socketserver's way: a thread for each client, whose commands run side by side."""

import socketserver
import struct
import sys

from run import output

encoding = sys.argv[1]


class Handler(socketserver.BaseRequestHandler):
    def setup(self):
        print("here", flush=True)

    def handle(self):
        while True:
            command = self.request.recv(1024)
            if not command or command.upper() == b"Q":
                break
            reply = output(command.decode(encoding), encoding)
            self.request.sendall(struct.pack("i", len(reply)) + reply)

    def finish(self):
        print("goodbye", flush=True)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", 0), Handler) as server:
    print("listening", server.server_address[1], flush=True)
    server.serve_forever()
