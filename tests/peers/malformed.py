"""usage: malformed.py TCP MAX_HEADER

Octets that are no frames. Each gets one error frame with the right code, which arrives whole although the peer goes
on sending, and then the end of the stream; and the server goes on answering others.
"""

import socket
import struct
import sys
import threading

from peer import connect, frame, receive

LIMIT = int(sys.argv[2])
# Where the header is not too long to begin with.
TOO_DEEP = "bad_header" if LIMIT > 10_005 else "too_large"


def prefixed(header):
    return struct.pack("<i", len(header)) + header


# What is sent, whether the stream ends there, and the code.
MALFORMED = {
    "prefix 0": (struct.pack("<i", 0), False, "bad_header"),
    "prefix -1": (struct.pack("<i", -1), False, "bad_header"),
    "prefix -2^31": (struct.pack("<i", -(2**31)), False, "bad_header"),
    "prefix in big endian": (struct.pack(">i", 16) + b'{"total_size":0}', False, "too_large"),
    "prefix over the limit": (struct.pack("<i", LIMIT + 1), False, "too_large"),
    "prefix 2^31 - 1": (struct.pack("<i", 2**31 - 1), False, "too_large"),
    "end in the prefix": (b"\x10\0\0", True, "bad_header"),
    "end in the header": (prefixed(b'{"total_size":0}')[:-1], True, "bad_header"),
    "end behind the prefix": (prefixed(b'{"total_size":0}')[:4], True, "bad_header"),
    "not JSON": (prefixed(b"hello world"), False, "bad_header"),
    "JSON cut short": (prefixed(b'{"total_size":0'), False, "bad_header"),
    "an array": (prefixed(b'[{"total_size":0}]'), False, "bad_header"),
    "a number": (prefixed(b"5"), False, "bad_header"),
    "white space": (prefixed(b"   "), False, "bad_header"),
    "NaN": (prefixed(b'{"total_size":NaN}'), False, "bad_header"),
    "NaN in an unknown key": (prefixed(b'{"total_size":0,"x":[NaN]}'), False, "bad_header"),
    "Infinity": (prefixed(b'{"total_size":0,"x":-Infinity}'), False, "bad_header"),
    "trailing octets": (prefixed(b'{"total_size":0}x'), False, "bad_header"),
    "two objects": (prefixed(b'{"total_size":0}{}'), False, "bad_header"),
    "no total_size": (prefixed(b'{"op":"echo"}'), False, "bad_header"),
    "total_size twice": (prefixed(b'{"total_size":0,"total_size":0}'), False, "bad_header"),
    "total_size twice, escaped": (prefixed(b'{"total_size":0,"total_\\u0073ize":0}'), False, "bad_header"),
    "total_size negative": (prefixed(b'{"total_size":-1}'), False, "bad_header"),
    "total_size -0": (prefixed(b'{"total_size":-0}'), False, "bad_header"),
    "total_size a fraction": (prefixed(b'{"total_size":1.5}'), False, "bad_header"),
    "total_size 1.0": (prefixed(b'{"total_size":1.0}'), False, "bad_header"),
    "total_size 1e3": (prefixed(b'{"total_size":1e3}'), False, "bad_header"),
    "total_size 2^64": (prefixed(b'{"total_size":18446744073709551616}'), False, "bad_header"),
    "total_size 2^64 many times": (prefixed(b'{"total_size":' + b"9" * 4000 + b"}"), False, "bad_header"),
    "total_size a string": (prefixed(b'{"total_size":"0"}'), False, "bad_header"),
    "total_size null": (prefixed(b'{"total_size":null}'), False, "bad_header"),
    "leading zero": (prefixed(b'{"total_size":00}'), False, "bad_header"),
    "trailing comma": (prefixed(b'{"total_size":0,}'), False, "bad_header"),
    "a comment": (prefixed(b'{"total_size":0/**/}'), False, "bad_header"),
    "single quotes": (prefixed(b"{'total_size':0}"), False, "bad_header"),
    "10,000 open brackets": (prefixed(b'{"x":' + b"[" * 10_000), False, TOO_DEEP),
    "4,000 open brackets": (prefixed(b'{"x":' + b"[" * 4_000), False, "bad_header"),
    "4,000 open objects": (prefixed(b'{"x":' * 800), False, "bad_header"),
    "invalid UTF-8": (prefixed(b'{"total_size":0,"x":"\xff"}'), False, "bad_header"),
    "UTF-8 too long": (prefixed(b'{"total_size":0,"x":"\xc0\x80"}'), False, "bad_header"),
    "a surrogate in UTF-8": (prefixed(b'{"total_size":0,"x":"\xed\xa0\x80"}'), False, "bad_header"),
    "half a surrogate pair": (prefixed(b'{"total_size":0,"x":"\\ud83d"}'), False, "bad_header"),
    "GBK": (prefixed('{"total_size":0,"filename":"测试"}'.encode("gbk")), False, "bad_header"),
    "UTF-16": (prefixed('{"total_size":0}'.encode("utf-16-le")), False, "bad_header"),
    "a byte order mark": (prefixed(b'\xef\xbb\xbf{"total_size":0}'), False, "bad_header"),
    "NUL behind": (prefixed(b'{"total_size":0}\0'), False, "bad_header"),
    "NUL in a string": (prefixed(b'{"total_size":0,"x":"\0"}'), False, "bad_header"),
    "a control character": (prefixed(b'{"total_size":0,"x":"\x1b"}'), False, "bad_header"),
    "id too large": (prefixed(b'{"total_size":0,"id":4294967296}'), False, "bad_header"),
    "op no string": (prefixed(b'{"total_size":0,"op":1}'), False, "bad_header"),
    "filename too long": (prefixed(b'{"total_size":0,"filename":"' + b"x" * 256 + b'"}'), False, "bad_header"),
    "offset negative": (prefixed(b'{"total_size":0,"offset":-1}'), False, "bad_header"),
    "overwrite no boolean": (prefixed(b'{"total_size":0,"overwrite":1}'), False, "bad_header"),
    "mode with more than permissions": (prefixed(b'{"total_size":0,"mode":512}'), False, "bad_header"),
    "mtime_ns negative": (prefixed(b'{"total_size":0,"mtime_ns":-1}'), False, "bad_header"),
    "mtime_ns too large": (prefixed(b'{"total_size":0,"mtime_ns":18446744073709551616}'), False, "bad_header"),
    "sha256 too short": (prefixed(b'{"total_size":0,"sha256":"' + b"0" * 63 + b'"}'), False, "bad_header"),
    "sha256 in upper case": (prefixed(b'{"total_size":0,"sha256":"' + b"A" * 64 + b'"}'), False, "bad_header"),
    "a request of HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", False, "too_large"),
    "a hello of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", False, "too_large"),
}

GOOD = frame({"op": "echo", "id": 77}, b"before")


def refused(address, octets, ends, code, good_before):
    """Sends it, and a lot behind it; reads what comes."""
    connection = connect(address)
    with connection, connection.makefile("rb") as file:

        def send():
            connection.sendall((GOOD if good_before else b"") + octets)
            if ends:
                connection.shutdown(socket.SHUT_WR)
                return
            try:
                connection.sendall(b"\xa5" * 300_000)
            except OSError:
                # The server need not take all of it.
                pass

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        if good_before:
            assert receive(file) == ({"total_size": 6, "id": 77}, b"before")
        header, body = receive(file)
        assert header["error"] == code, header
        assert header["message"], header
        assert "id" not in header and "more" not in header, header
        assert body == b""
        assert file.read() == b"", "the error frame is the last"
        sender.join()


def main(address):
    bystander = connect(address)
    with bystander, bystander.makefile("rb") as file:
        for name, (octets, ends, code) in MALFORMED.items():
            for good_before in (False, True):
                try:
                    refused(address, octets, ends, code, good_before)
                except Exception as error:
                    raise AssertionError(name) from error
            bystander.sendall(frame({"op": "echo", "id": 5}, b"still here"))
            assert receive(file) == ({"total_size": 10, "id": 5}, b"still here"), name


if __name__ == "__main__":
    main(sys.argv[1])
