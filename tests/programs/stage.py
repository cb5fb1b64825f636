"""What the programs in this folder share: saying that they are there, and serving.

A program announces itself by appending a line `name pid start monotonic` to $STAGE/announced, so that a test
knows the identity (PID and start ticks) of every process of a tree before anybody signals it.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time

FOLDER = os.environ.get("STAGE", "")  # kept here: some programs clear their environment


def announce(name: str) -> None:
    # /proc/self, not getpid(): in a PID namespace of its own the observer's number is wanted.
    pid = os.readlink("/proc/self")
    with open("/proc/self/stat", "rb") as file:
        start = file.read().rpartition(b")")[2].split()[19].decode()
    line = f"{name} {pid} {start} {time.monotonic():.4f}\n".encode()
    descriptor = os.open(f"{FOLDER}/announced", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def listen(port: int, host: str = "127.0.0.1") -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(64)
    return listener


def answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        if connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def serve(listener: socket.socket | None) -> None:
    """Answer every request with 200; without a listener, wait for signals. Never returns."""
    while True:
        if listener is None:
            signal.pause()
        else:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def on_signal(name: str, action: str) -> None:
    """`ignore`: announce got-NAME and go on; `leave`: announce it and exit 0."""

    def handle(number: int, frame: object) -> None:
        announce(f"got-{name}")
        if action == "leave":
            sys.stdout.flush()
            os._exit(0)

    signal.signal(getattr(signal, f"SIG{name}"), handle)
