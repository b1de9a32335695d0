"""A proxy between the service and its database, which can be cut, frozen and mended."""

import select
import socket
import threading
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit


class TcpProxy:
    """Listens on loopback and passes everything on to the server behind `url`, while it is whole."""

    def __init__(self, url: str, listening: bool = True) -> None:
        self._server = parse_qs(urlsplit(url).query)["host"][0] + "/.s.PGSQL.5432"
        self._ends: list[socket.socket] = []
        self._frozen = threading.Event()
        self.cut_after_query: bytes | None = None  # cut when the client has sent this, before any answer
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        parts = urlsplit(url)
        self.url = f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{self.port}{parts.path}"
        if listening:
            self.mend()

    def mend(self) -> None:
        """Take connections again; what was frozen thaws."""
        self._frozen.clear()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks, and new ones are refused."""
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.break_connections()

    def break_connections(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def freeze(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._frozen.set()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._ends += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError), client, server:
            while True:
                readable, _, _ = select.select([client, server], [], [], 0.05)
                if self._frozen.is_set():
                    continue
                for end in readable:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    other = server if end is client else client
                    if end is server and self.cut_after_query == b"":
                        self.cut_after_query = None
                        return
                    other.sendall(data)
                    if end is client and self.cut_after_query and self.cut_after_query in data:
                        self.cut_after_query = b""
