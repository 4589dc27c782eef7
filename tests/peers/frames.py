"""usage: frames.py TCP UDP

Good frames in bad pieces, from a Python without anything installed. Each way that a stream can be cut is sent
the same requests; every reply has to be right, and in order.
"""

import random
import socket
import struct
import sys
import threading

from peer import connect, frame, receive

NAMES = ["plain", "测试.txt", "😀😀", 'quote " backslash \\', "tab\tnewline\n", "é\u2028\u0001\x7f", ""]
UNKNOWN = {
    "颜色": {"deep": [{"er": [None, True, -1.5e300, "😀", {"total_size": "not this one"}]}]},
    "numbers": [0, -0.0, 1e-7, 2**64, -(2**63)],
    "more": None,
    "empty": [{}, [], ""],
    "md5": "d41d8cd98f00b204e9800998ecf8427e",
}


def requests(count):
    """As many requests, each with the reply that is expected: its id and body."""
    for number in range(count):
        name = NAMES[number % len(NAMES)]
        body = (name.encode() + bytes([number % 256])) * (number % 9)
        header = {"op": "echo", "id": number, "filename": name}
        if number % 2:
            # Known keys stand behind the unknown ones, and inside of them.
            unknown = {key: value for key, value in UNKNOWN.items() if key != "more"}
            header = dict(unknown, **header)
        yield frame(header, body), (number, body)


def check(file, expected):
    for number, body in expected:
        header, received = receive(file)
        assert "error" not in header, header
        assert header["id"] == number, (header, number)
        assert "more" not in header, header
        assert received == body, (received, body)


def exchange(address, pieces, expected):
    """Sends all the pieces, each by itself, while the replies are read."""
    connection = connect(address)
    with connection, connection.makefile("rb") as file:

        def send():
            for piece in pieces:
                connection.sendall(piece)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        check(file, expected)
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert file.read() == b"", "something behind the last reply"


def one_octet_at_a_time(address):
    frames, expected = zip(*requests(2 * len(NAMES)))
    stream = b"".join(frames)
    exchange(address, (stream[at : at + 1] for at in range(len(stream))), expected)


def random_pieces(address, seed):
    source = random.Random(seed)
    frames, expected = zip(*requests(300))
    stream = b"".join(frames)
    cuts = sorted(source.sample(range(1, len(stream)), 400))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)])]
    exchange(address, pieces, expected)


def many_in_one_send(address):
    frames, expected = zip(*requests(1000))
    exchange(address, [b"".join(frames)], expected)


def unread_until_sent(address):
    """Requests whose replies are read only once all of them are sent."""
    frames, expected = zip(*requests(100))
    connection = connect(address)
    with connection, connection.makefile("rb") as file:
        for piece in frames:
            connection.sendall(piece)
        check(file, expected)


def across_a_large_body(address):
    """A body of some buffers' length between two small ones, all stuck together."""
    body = random.Random(1).randbytes(1_000_003)
    bodies = [b"a", body, b"", b"z"]
    stream = b"".join(frame({"op": "echo", "id": id}, body) for id, body in enumerate(bodies))
    exchange(address, [stream], list(enumerate(bodies)))


def refusals_in_between(address):
    """A refused request takes its own body along, and nothing else."""
    good = {"op": "echo"}
    stream = b"".join(
        [
            frame(dict(good, id=1), b"one"),
            frame({"op": "飞", "id": 2}, b"x" * 100_000),
            frame({"id": 3}, b"no op"),
            frame(dict(good, id=4), b"four"),
        ]
    )
    connection = connect(address)
    with connection, connection.makefile("rb") as file:
        connection.sendall(stream)
        assert receive(file) == ({"total_size": 3, "id": 1}, b"one")
        for number in (2, 3):
            header, _ = receive(file)
            assert (header["id"], header["error"]) == (number, "unknown_op"), header
        assert receive(file) == ({"total_size": 4, "id": 4}, b"four")


def datagrams(address):
    host, port = address.rsplit(":", 1)
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.settimeout(10)
    with connection:
        connection.connect((host, int(port)))
        for datagram, (number, body) in requests(50):
            connection.send(datagram)
            answer = connection.recv(65535)
            (length,) = struct.unpack("<i", answer[:4])
            assert answer[4 + length :] == body
            assert f'"id":{number}'.encode() in answer[4 : 4 + length]


def main(tcp, udp):
    one_octet_at_a_time(tcp)
    for seed in range(5):
        random_pieces(tcp, seed)
    many_in_one_send(tcp)
    unread_until_sent(tcp)
    across_a_large_body(tcp)
    refusals_in_between(tcp)
    datagrams(udp)


if __name__ == "__main__":
    main(*sys.argv[1:])
