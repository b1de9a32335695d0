"""PgBouncer before the test's database, with the settings that docs/operations.md gives."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from tests.school import until
from tests.tcp_proxy import TcpProxy

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"
DOCUMENTED = OPERATIONS.read_text().split("```ini\n")[1].split("```")[0]
SETTINGS = """[databases]
viapool = host=127.0.0.1 port={server} dbname={name} user={user} password={password}
{documented}
default_pool_size = 5
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
"""


class Pooler:
    """Runs until `close`; root hands it to `nobody`, for it refuses to run as root."""

    def __init__(self, database_url: str) -> None:
        self._proxy = TcpProxy(database_url)  # the database's own socket is in a folder closed to `nobody`
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = f"postgresql://school@127.0.0.1:{self._port}/viapool"
        url = urlsplit(database_url)
        self._folder = Path(tempfile.mkdtemp(prefix="pooler-"))
        self._account = "nobody" if os.geteuid() == 0 else None
        self._file = self._folder / "pgbouncer.ini"
        self._file.write_text(
            SETTINGS.format(
                server=self._proxy.port,
                name=url.path[1:],
                user=url.username,
                password=url.password,
                port=self._port,
                documented=DOCUMENTED,
            )
        )
        if self._account:
            for each in (self._folder, self._file):
                shutil.chown(each, self._account)
        self.start()

    def start(self) -> None:
        assert PROGRAM
        self._process = subprocess.Popen([PROGRAM, "-q", str(self._file)], user=self._account, cwd=self._folder)
        until(self._answers, 20)

    def stop(self) -> None:
        """End it at once, whatever it is about."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._proxy.cut()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True
