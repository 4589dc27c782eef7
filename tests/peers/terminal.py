"""Runs a command in a terminal, and prints what it shows there. A server that listens is told to stop."""

import os
import pty
import signal
import sys

process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
stopped = False
while True:
    try:
        octets = os.read(terminal, 4096)
    except OSError:
        # Nobody has the other end any more.
        break
    if not octets:
        break
    shown += octets
    if b"listening" in shown and not stopped:
        stopped = True
        os.kill(process, signal.SIGTERM)
os.waitpid(process, 0)
sys.stdout.buffer.write(shown)
