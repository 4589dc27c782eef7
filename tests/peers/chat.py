"""One who chats in frames: says something, hears something, says goodbye."""

import sys

from peer import connect, frame, receive

peer = connect(sys.argv[1])
peer.sendall(frame({"op": "chat"}, "hello 世界".encode()))
header, text = receive(peer.makefile("rb"))
assert header["op"] == "chat", header
print(text.decode(), flush=True)
peer.sendall(frame({}, b"q"))
peer.close()
