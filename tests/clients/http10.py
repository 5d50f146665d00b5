"""HTTP/1.0 with `Connection: keep-alive`, as `ab -k` asks: one connection, two requests, each answer framed by a length and
announced as kept alive; without the header, the connection is closed."""
import os
import socket

host, port = os.environ["HTTP"].split(":")


def head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        got = sock.recv(4096)
        assert got, f"closed after {data!r}"
        data += got
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return lines[0], {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}, rest


for path in ["/-/healthz", "/no-such/info/refs?service=git-upload-pack"]:
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        for _ in range(2):
            sock.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n".encode())
            status, headers, body = head(sock)
            print(status, headers)
            assert "transfer-encoding" not in headers, "chunks are no part of HTTP/1.0"
            assert headers.get("connection", "").lower() == "keep-alive", headers
            while len(body) < int(headers["content-length"]):
                body += sock.recv(4096)
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        data = b""
        while got := sock.recv(4096):
            data += got
        print(data.split(b"\r\n")[0])
