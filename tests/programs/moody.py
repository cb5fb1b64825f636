"""An HTTP server that answers as the file `mood` beside it says at that moment; `--port P`, `--name NAME`.

Moods: ok, error, nothing, hang, half, drip, flood, redirect, a status and a body ("200 all is well").
"""

import argparse
import contextlib
import socket
import threading
import time

import stage

FLOOD_BYTES = 1 << 30

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--name", default="moody")
options = parser.parse_args()


def mood() -> str:
    try:
        with open("mood") as file:
            return file.read().strip() or "ok"
    except OSError:
        return "ok"


def answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        now = mood()
        if now == "hang":
            threading.Event().wait()
        elif now == "half":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
        elif now == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" * 100:
                connection.sendall(bytes([byte]))
                time.sleep(0.2)
        elif now == "flood":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD_BYTES)
            block = bytes(1 << 16)
            for _ in range(FLOOD_BYTES >> 16):
                connection.sendall(block)
        elif now == "redirect":
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n")
        elif now != "nothing":
            status, _, body = {"ok": "200 ok", "error": "500 no"}.get(now, now).partition(" ")
            head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall((head + body).encode())


listener = stage.listen(options.port, options.host)
stage.announce(options.name)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=answer, args=(accepted,), daemon=True).start()
