"""Real programs from their Dockerfiles: built, run and pushed here, pulled and run by docker and podman."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

import pycontainer as pc
from pycontainer.oci import ContainerConfig
from tests.support import peers
from tests.support.peers import Docker, PeerFailed, Podman
from tests.support.trees import Described, described

pytestmark = [
    pytest.mark.needs("root", "overlay", "nsenter", "docker-registry", "dockerd", "containerd", "podman"),
    pytest.mark.timeout(400),
]
SECONDS = 120.0
BASES = ("debian-programs", "python", "toolchain")
PYTHON_HEADER = Path("/usr/include/python3.11/Python.h")

NGINX = """\
FROM debian-programs
COPY nginx.conf /etc/nginx/nginx.conf
COPY site /srv/site
RUN ln -sf /dev/stderr /var/log/nginx/error.log && nginx -t
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"""
NGINX_FILES = {
    "nginx.conf": "user www-data;\nevents {}\n"
    "http { access_log off; server { listen 80; root /srv/site; index index.html; } }\n",
    "site/index.html": "from nginx\n",
}

POSTGRES = """\
FROM debian-programs
ENV PGDATA=/var/lib/postgresql/data
RUN mkdir -p /usr/local/bin; for bin in /usr/lib/postgresql/*/bin/*; do ln -sf $bin /usr/local/bin/; done \\
    && mkdir -p "$PGDATA" /docker-entrypoint-initdb.d && chown postgres:postgres "$PGDATA" \\
    && chmod 0700 "$PGDATA"
COPY docker-entrypoint.sh /usr/local/bin/
COPY init/*.sql /docker-entrypoint-initdb.d/
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres", "-c", "jit=off"]
"""
POSTGRES_FILES = {
    "docker-entrypoint.sh": """#!/bin/bash
set -e
if [ "$(id -u)" = 0 ]; then
    exec setpriv --reuid postgres --regid postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --auth trust --no-sync >/dev/null
    pg_ctl -w -o "-c listen_addresses='' -c jit=off" start >/dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do psql -v ON_ERROR_STOP=1 -q -f "$file" postgres; done
    pg_ctl -m fast -w stop >/dev/null
fi
exec "$@"
""",
    "init/1-schema.sql": "CREATE TABLE kept (n int);\n",
    "init/2-rows.sql": "INSERT INTO kept VALUES (40), (2);\n",
}

STATIC = """\
FROM toolchain AS build
WORKDIR /src
COPY hello.c .
ARG WHO=nobody
RUN mkdir /out && gcc -O1 -static -DWHO="\\"$WHO\\"" -o /out/hello hello.c
FROM scratch
COPY --from=build /out/hello /hello
USER 65534:65534
ENTRYPOINT ["/hello"]
CMD ["again"]
"""
STATIC_FILES = {
    "hello.c": "#include <stdio.h>\n"
    'int main(int count, char **words) { return printf("hello %s, %s\\n", WHO, words[count - 1]) < 0; }\n'
}

WEB = """\
FROM toolchain AS build
WORKDIR /src
COPY speedups.c .
RUN mkdir /out && gcc -O1 -shared -fPIC -I/usr/include/python3.11 -o /out/speedups.so speedups.c
FROM python
WORKDIR /app
COPY --from=build /out/*.so ./
COPY app.py ./
RUN python3.11 -c "import speedups"
ENV PYTHONUNBUFFERED=1
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=1s CMD ["python3.11", "app.py", "ask"]
ENTRYPOINT ["python3.11", "app.py"]
"""
WEB_FILES = {
    "speedups.c": """#include <Python.h>
static PyObject *total(PyObject *self, PyObject *words) {
    long a, b;
    return PyArg_ParseTuple(words, "ll", &a, &b) ? PyLong_FromLong(a + b) : NULL;
}
static PyMethodDef methods[] = {{"total", total, METH_VARARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "speedups", 0, -1, methods};
PyMODINIT_FUNC PyInit_speedups(void) { return PyModule_Create(&module); }
""",
    "app.py": """import sys
from wsgiref.simple_server import make_server
from urllib.request import urlopen
import speedups

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"total %d\\n" % speedups.total(40, 2)]

if sys.argv[1:] == ["ask"]:
    sys.stdout.write(urlopen("http://127.0.0.1:8000/").read().decode())
else:
    make_server("127.0.0.1", 8000, app).serve_forever()
""",
}
GET = r'exec 3<>/dev/tcp/127.0.0.1/80 && printf "GET / HTTP/1.0\r\n\r\n" >&3 && tail -n 1 <&3'


@attrs.frozen
class Program:
    """A Dockerfile, and how its service is asked (exec'd in it); without a question it says it and ends.

    base: the image that its own layers lie upon.
    """

    base: str | None
    dockerfile: str
    files: Mapping[str, str]
    question: tuple[str, ...]
    answer: str


PROGRAMS = {
    "web": Program("python", WEB, WEB_FILES, ("python3.11", "app.py", "ask"), "total 42\n"),
    "static": Program(None, STATIC, STATIC_FILES, (), "hello world, again\n"),
    "nginx": Program("debian-programs", NGINX, NGINX_FILES, ("bash", "-c", GET), "from nginx\n"),
    "postgres": Program(
        "debian-programs",
        POSTGRES,
        POSTGRES_FILES,
        ("psql", "-h", "/var/run/postgresql", "-U", "postgres", "-Atc", "SELECT sum(n) FROM kept"),
        "42\n",
    ),
}


@pytest.fixture(scope="module")
def store(debian_store: pc.Engine) -> pc.Engine:
    """The engine with images of Debian's packages, and one of the host's compiler and Python."""
    if not PYTHON_HEADER.exists():
        pytest.skip(f"no {PYTHON_HEADER}: apt-get install gcc libc6-dev libpython3-dev")
    python = ["sh", "mkdir", "/usr/bin/python3.11"]
    pc.Image.from_host(python, paths=["/usr/lib/python3.11"], tags=["python"], engine=debian_store)
    gcc, libc = Path("/usr/lib/gcc/x86_64-linux-gnu/12"), Path("/usr/lib/x86_64-linux-gnu")
    paths = [
        *gcc.glob("crt*.o"),
        *(gcc / name for name in ("include", "libgcc.a", "libgcc_eh.a", "libgcc_s.so", "liblto_plugin.so")),
        *libc.glob("*crt*.o"),
        *(libc / name for name in ("libc.a", "libc.so", "libc_nonshared.a", "libgcc_s.so.1")),
        *Path("/usr/include").glob("*.h"),
        *(Path("/usr/include") / name for name in ("asm-generic", "linux", "python3.11", "x86_64-linux-gnu")),
    ]
    programs = ["sh", "mkdir", "gcc", "as", "ld", str(gcc / "cc1"), str(gcc / "collect2")]
    pc.Image.from_host(programs, paths=list(map(str, paths)), tags=["toolchain"], engine=debian_store)
    return debian_store


@pytest.fixture
def engine(store: pc.Engine) -> Iterator[pc.Engine]:
    """Another engine on that store, so that its connections end with the test."""
    with pc.Engine(store.root) as made:
        yield made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.docker_registry(tmp_path_factory.mktemp("registry") / "data") as address:
        yield address


@pytest.fixture(scope="module")
def dockers_bases(store: pc.Engine, registry: str, others: tuple[Docker, Podman]) -> Docker:
    """docker with the images that the programs are made from, as it pulled them."""
    docker, _ = others
    for name in BASES:
        reference = f"{registry}/bases/{name}:1"
        pc.Image.get(name, engine=store).push(reference)
        docker.pull(reference)
        docker("tag", reference, name)
    return docker


@pytest.fixture(scope="module")
def others() -> Iterator[tuple[Docker, Podman]]:
    with peers.namespace() as space, peers.docker(space) as docker:
        home = space.directory / "podman"
        home.mkdir()
        yield docker, Podman(space, home)


def asked(ask: Callable[[], str], expected: str) -> str:
    """What a service answers as soon as it answers what is expected, or the last that it said."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            said = ask()
        except PeerFailed as error:
            said = str(error)
        if said == expected or time.monotonic() > deadline:
            return said
        time.sleep(0.1)


@contextmanager
def running(peer: Docker | Podman, name: str) -> Iterator[str]:
    """A container of theirs without a network, in the background."""
    cgroups = ("--cgroups", "disabled", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    options = cgroups if isinstance(peer, Podman) else ()
    container = peer("run", "--detach", "--network", "none", *options, name).decode().strip()
    try:
        yield container
    finally:
        peer("rm", "--force", "--volumes", container)


def answer_of(peer: Docker | Podman, reference: str, program: Program) -> str:
    """What the program says in a container of theirs."""
    if not program.question:
        return peer.run(reference).decode()
    with running(peer, reference) as container:
        return asked(lambda: peer("exec", container, *program.question).decode(), program.answer)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_built_run_pushed_pulled_and_run_by_docker_and_podman(
    engine: pc.Engine,
    registry: str,
    others: tuple[Docker, Podman],
    dockers_bases: Docker,
    tmp_path: Path,
    name: str,
) -> None:
    program = PROGRAMS[name]
    reference = f"{registry}/programs/{name}:1"
    image = pc.Image.build(
        program.files,
        dockerfile=program.dockerfile,
        build_args={"WHO": "world"},
        tags=[reference],
        network="none",
        provenance=True,
        sbom=True,
        engine=engine,
    )
    if not program.question:
        assert pc.run(image, engine=engine).check().text == program.answer
    else:
        with pc.Container(image, engine=engine) as box:
            said = asked(lambda: box.exec(program.question).text, program.answer)
            assert said == program.answer, box.logs()
    digest = image.push()
    remote = pc.RemoteImage(reference, engine=engine)
    assert remote.digest == digest == image.digest
    kinds = [found["predicateType"] for found in remote.attestations()]
    assert sorted(kinds) == ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]
    for peer in others:
        assert peer.pull(reference) == image.id
        assert answer_of(peer, reference, program) == program.answer
    theirs = docker_builds(dockers_bases, program, f"{registry}/theirs/{name}:1", tmp_path)
    assert_same(engine, program, image, pc.Image.pull(theirs, engine=engine))


def docker_builds(docker: Docker, program: Program, reference: str, place: Path) -> str:
    """Build a program by docker, from a directory, and push it."""
    for file, content in program.files.items():
        (place / file).parent.mkdir(exist_ok=True)
        (place / file).write_text(content)
        (place / file).chmod(0o755 if content.startswith("#!") else 0o644)
    (place / "Dockerfile").write_text(program.dockerfile)
    options = ("--quiet", "--network", "none", "--build-arg", "WHO=world")
    docker("build", *options, "--tag", reference, place)
    docker.push(reference)
    return reference


def assert_same(engine: pc.Engine, program: Program, image: pc.Image, theirs: pc.Image) -> None:
    """Compare configurations, and what lies above the base: layer by layer, entry by entry."""
    assert said_of(image) == said_of(theirs)
    base = 0 if program.base is None else len(pc.Image.get(program.base, engine=engine).view.layers)
    assert image.view.diff_ids[:base] == theirs.view.diff_ids[:base]
    ours, others = ([*layers(each)][base:] for each in (image, theirs))
    assert ours
    assert ours == others


def said_of(image: pc.Image) -> ContainerConfig:
    """The configuration for containers, without what docker adds about the build's last container.

    From scratch BuildKit, as which this builds, begins in /, and the builder of docker 20.10 nowhere.
    """
    told = image.config.config
    return attrs.evolve(told, extra={}, working_dir=told.working_dir or "/")


def layers(image: pc.Image) -> Iterator[dict[str, Described]]:
    """What each layer of an image holds, the lowest first."""
    for blob in image.view.layers:
        with image.view.open_blob(blob) as opened:
            yield described(opened)
