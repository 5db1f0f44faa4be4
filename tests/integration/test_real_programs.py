"""Real programs of Debian in containers that find each other, the host and nobody else."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import httpx
import pytest

import pycontainer as pc
from pycontainer import testing
from pycontainer.errors import ContainerFailed
from tests.support import debian

pytestmark = [pytest.mark.needs("root", "overlay", "nft", "apt-get", "dpkg-deb"), pytest.mark.timeout(400)]

SECONDS = 60

WEB = """\
events {}
daemon off;
user www-data;
http {
  resolver 127.0.0.11 valid=1s;
  server { listen 80; location / { return 200 "front\\n"; }
    location /api { set $to http://api:8080; proxy_pass $to; } }
}
"""
API = 'events {}\ndaemon off;\nuser www-data;\nhttp { server { listen 8080; return 200 "back\\n"; } }\n'
POSTGRES = r"""
set -e
cd /var/lib/postgresql
as="setpriv --reuid postgres --regid postgres --clear-groups"
bin=$(echo /usr/lib/postgresql/*/bin)
if [ ! -e data/PG_VERSION ]; then
  $as $bin/initdb -A trust -D data >/dev/null
  echo "host all all all trust" >> data/pg_hba.conf
fi
exec $as $bin/postgres -D data -c "listen_addresses=*" -c jit=off
"""


def test_three_programs_find_each_other_and_nobody_else_finds_them(debian_store: pc.Engine) -> None:
    store = debian_store
    image = (
        pc.Image.get(debian.IMAGE, engine=store)
        .add({"etc/nginx/web.conf": WEB, "etc/nginx/api.conf": API})
        .tag("programs:configured")
    )
    with ExitStack() as stack:
        networks = {name: pc.Network.create(name, engine=store) for name in ("front", "back", "other")}
        for network in networks.values():
            stack.callback(network.remove)

        def start(name: str, command: list[str], **options: object) -> pc.Container:
            box = pc.Container(image, command, name=name, engine=store, **options)  # type: ignore[arg-type]
            return stack.enter_context(box)

        db = start("db", ["sh", "-c", POSTGRES], network="back", wait=pc.wait.port(5432))
        cache = start(
            "cache", ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""],
            network="name=back,alias=redis", wait=pc.wait.port(6379),
        )  # fmt: skip
        start("api", ["nginx", "-c", "/etc/nginx/api.conf"], network="back", wait=pc.wait.port(8080))
        web = start(
            "web", ["nginx", "-c", "/etc/nginx/web.conf"], network=["front", "back"],
            ports={80: None}, wait=pc.wait.port(80),
        )  # fmt: skip

        # To the host by a published port, by no port at all, and from program to program by name.
        address = f"http://127.0.0.1:{web.ports[80].host_port}"
        assert httpx.get(f"{address}/", timeout=SECONDS).text == "front\n"
        assert httpx.get(f"{address}/api", timeout=SECONDS).text == "back\n"
        with cache.connect(6379) as redis:
            redis.sendall(b"SET greeting hello\r\nGET greeting\r\n")
            assert _received(redis, b"hello\r\n") == b"+OK\r\n$5\r\nhello\r\n"
        assert web.exec(["redis-cli", "-h", "redis", "get", "greeting"]).text == "hello\n"
        psql = ["psql", "-h", "db", "-U", "postgres", "-Atc"]
        web.exec([*psql, "create table kept (n int); insert into kept values (42)"]).check()
        assert web.exec([*psql, "select n from kept"]).text == "42\n"

        # One is started again: it is found under its name as before, with what it had written.
        before = db.ip
        db.restart(timeout=SECONDS)
        # It listens a while before it answers.
        answers = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atc", "select 1"]
        db.wait_until(pc.wait.exec(answers), timeout=SECONDS)
        assert (db.ip, web.exec([*psql, "select n from kept"]).text) == (before, "42\n")
        assert httpx.get(f"{address}/api", timeout=SECONDS).text == "back\n"

        # Somebody in another network finds no name, and reaches no address.
        stranger = start("stranger", ["sleep", "1000"], network="other")
        with pytest.raises(ContainerFailed):
            stranger.exec(["redis-cli", "-h", "cache", "ping"], timeout=SECONDS).check()
        for box, port in ((db, 5432), (cache, 6379), (web, 80)):
            for ip in box.ips.values():
                script = f"timeout 1 bash -c '</dev/tcp/{ip}/{port}'"
                assert stranger.exec(["bash", "-c", script], timeout=SECONDS).exit_code == 124


@pytest.mark.parametrize("volumes", [[], ["/var/lib/postgresql"]], ids=["in-the-container", "in-a-volume"])
def test_copies_of_a_seeded_database_start_with_its_rows_and_keep_their_own(
    debian_store: pc.Engine, volumes: list[str]
) -> None:
    service = pc.services.postgres(debian.IMAGE, database="postgres").replace(
        command=["sh", "-c", POSTGRES], options={"volumes": volumes, "stop_signal": "INT"}
    )

    def query(db: pc.services.Running, text: str) -> str:
        return db.container.exec(["psql", "-h", "127.0.0.1", "-U", "postgres", "-Atc", text]).check().text

    db = service.start(engine=debian_store, owned=True)
    query(db, "create table kept as select generate_series(1, 10000) n")
    with testing.Template.of(db) as template, ExitStack() as stack:
        copies = [template.fork() for _ in range(2)]
        for copy in copies:
            stack.callback(copy.container.remove, force=True)
        query(copies[0], "delete from kept")
        assert [query(copy, "select count(*) from kept") for copy in copies] == ["0\n", "10000\n"]
        assert "was interrupted" not in copies[0].container.logs().text()  # it was stopped in good order
        assert copies[0].url != copies[1].url


def test_ready_made_services_run_real_programs(debian_store: pc.Engine) -> None:
    cache = pc.services.redis(debian.IMAGE, password="secret").replace(
        command=["redis-server", "--bind", "0.0.0.0", "--save", "", "--requirepass", "secret"]
    )
    image = pc.Image.get(debian.IMAGE, engine=debian_store).add({"etc/nginx/api.conf": API})
    front = pc.services.nginx(port=8080).replace(
        image=image.tag("programs:serving"), command=["nginx", "-c", "/etc/nginx/api.conf"]
    )
    with testing.ContainerFactory(debian_store) as factory:
        redis, web = factory.together(cache, front)
        assert httpx.get(web.url, timeout=SECONDS).text == "back\n"
        with socket.create_connection((redis.host, redis.port), timeout=SECONDS) as connection:
            connection.sendall(b"AUTH secret\r\nPING\r\n")
            assert _received(connection, b"PONG\r\n") == b"+OK\r\n+PONG\r\n"


def _received(sock: socket.socket, last: bytes) -> bytes:
    content = b""
    while not content.endswith(last):
        chunk = sock.recv(4096)
        assert chunk, content
        content += chunk
    return content
