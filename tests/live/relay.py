"""A TCP relay, run as a script: the same ports on another address, as a router would bring them.

python relay.py LISTEN_ADDRESS TARGET_ADDRESS PORT...
"""

from __future__ import annotations

import socket
import sys
import threading

_PIECE = 1 << 16


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_PIECE):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction sees it, too: both ends are closed there.
        source.close()
        target.close()


def _serve(listener: socket.socket, target: tuple[str, int]) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(target, timeout=5.0)
        except OSError:
            near.close()
            continue
        far.settimeout(None)
        for one, other in ((near, far), (far, near)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def main(listen: str, target: str, ports: list[int]) -> None:
    """Relay each port until this process is ended."""
    threads = []
    for port in ports:
        listener = socket.create_server((listen, port), backlog=64)
        thread = threading.Thread(target=_serve, args=(listener, (target, port)), daemon=True)
        thread.start()
        threads.append(thread)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]])
