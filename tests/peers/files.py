"""usage: files.py TCP

Files from a Python without anything installed: put, stat, list and get, with digests, resumed both ways.
"""

import hashlib
import json
import random
import sys
import time

from peer import connect, frame, receive

NAME = "目录/测试 😀.bin"


def sha256(octets):
    return hashlib.sha256(octets).hexdigest()


def main(tcp):
    content = random.randbytes(300_000)
    with connect(tcp) as connection:
        file = connection.makefile("rwb")

        def send(header, body=b""):
            file.write(frame(header, body))
            file.flush()

        def ask(header, body=b""):
            """All frames of the reply: the headers, and the bodies in one."""
            send(header, body)
            headers, octets = [], b""
            while not headers or headers[-1].get("more"):
                header, body = receive(file)
                headers.append(header)
                octets += body
            return headers, octets

        wrong = {"op": "put", "filename": NAME, "sha256": sha256(b"another")}
        headers, _ = ask(wrong, content)
        assert headers[0]["error"] == "digest", headers
        headers, _ = ask({"op": "get", "filename": NAME})
        assert headers[0]["error"] == "not_found", headers

        kept = {"mode": 0o640, "mtime_ns": 1_000_000_000_123_456_789}
        put = {"op": "put", "id": 1, "filename": NAME, "sha256": sha256(content), **kept}
        headers, _ = ask(put, content)
        assert headers == [{"total_size": 0, "id": 1, "sha256": sha256(content)}], headers
        headers, _ = ask(dict(put, overwrite=False), content)
        assert headers[0]["error"] == "denied", headers

        _, line = ask({"op": "stat", "filename": NAME})
        stat = {"name": NAME, "kind": "file", "size": len(content), "writable": True, **kept}
        assert json.loads(line) == stat, line
        _, lines = ask({"op": "list", "filename": "目录"})
        assert json.loads(lines)["name"] == "测试 😀.bin", lines
        _, lines = ask({"op": "list"})
        assert json.loads(lines)["kind"] == "dir", lines

        headers, octets = ask({"op": "get", "filename": NAME})
        assert octets == content
        assert headers[-1]["sha256"] == sha256(content), headers
        half = {"offset": 100_000, "sha256": sha256(content[:100_000])}
        headers, octets = ask({"op": "get", "filename": NAME, **half})
        assert (headers[0]["offset"], octets) == (100_000, content[100_000:]), headers
        half["sha256"] = sha256(b"another")
        headers, octets = ask({"op": "get", "filename": NAME, **half})
        assert "offset" not in headers[0] and octets == content, headers

    # Interrupted in the middle, and gone on with over another connection.
    with connect(tcp) as connection:
        new = random.randbytes(200_000)
        put = {"op": "put", "filename": NAME, "sha256": sha256(new)}
        connection.sendall(frame(put, new)[:-50_000])
    with connect(tcp) as connection:
        file = connection.makefile("rwb")
        headers, kept = [{}], 0
        # Until the server has taken what was sent, and noticed that there is no more.
        while not kept or headers[0].get("error") == "busy":
            time.sleep(0.01)
            _, line = ask({"op": "stat", "filename": NAME})
            kept = json.loads(line).get("partial", 0)
            headers, _ = ask({"op": "stat", "filename": NAME, "offset": kept})
        assert kept <= 150_000, kept
        assert headers[0]["sha256"] == sha256(new[:kept]), headers
        headers, octets = ask({"op": "get", "filename": NAME})
        assert octets == content
        headers, _ = ask(dict(put, offset=kept), new[kept:])
        assert headers[0].get("sha256") == sha256(new), headers
        headers, octets = ask({"op": "get", "filename": NAME})
        assert octets == new


if __name__ == "__main__":
    main(*sys.argv[1:])
