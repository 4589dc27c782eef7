"""Runs a command as systemd runs one that it hands sockets to: activate.py KIND... -- COMMAND...

A KIND is tcp, udp, tcp-anywhere, unix or connected; the addresses of tcp and udp are printed.
"""

import os
import socket
import sys


def make(kind):
    if kind == "unix":
        return socket.socketpair()[0]
    if kind == "connected":
        listener = socket.create_server(("127.0.0.1", 0))
        return socket.create_connection(listener.getsockname())
    if kind == "tcp-anywhere":
        return socket.create_server(("0.0.0.0", 0))
    if kind == "tcp":
        made = socket.create_server(("127.0.0.1", 0))
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
    print("%s:%d" % made.getsockname(), flush=True)
    return made


end = sys.argv.index("--")
# Where nothing else is, and then where they belong.
made = [make(kind) for kind in sys.argv[1:end]]
high = [os.dup2(socket.fileno(), 100 + number) for number, socket in enumerate(made)]
for number, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + number)
os.environ["LISTEN_FDS"] = str(len(made))
os.environ["LISTEN_PID"] = str(os.getpid())
command = sys.argv[end + 1 :]
os.execv(command[0], command)
