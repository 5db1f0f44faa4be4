"""The ready-made services: what their images are told, when they are ready, and where they are found."""

from __future__ import annotations

from typing import Any, cast

import pytest

import pycontainer as pc
from pycontainer.engine import waits
from pycontainer.services import Running, Service
from pycontainer.services.service import _mapping


def url(service: Service, host: str = "127.0.0.1", port: int = 4000) -> str:
    """What a running one would say."""
    return Running(service, cast(Any, None))._url(host, port)


@pytest.mark.parametrize(
    ("service", "port", "env", "where"),
    [
        (
            pc.services.postgres(user="u", password="p@ss/word", database="d", driver="psycopg"),
            5432,
            {"POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p@ss/word", "POSTGRES_DB": "d"},
            "postgresql+psycopg://u:p%40ss%2Fword@127.0.0.1:4000/d",
        ),
        (
            pc.services.mysql(),
            3306,
            {
                "MYSQL_ROOT_PASSWORD": "test",
                "MYSQL_DATABASE": "test",
                "MYSQL_USER": "test",
                "MYSQL_PASSWORD": "test",
            },
            "mysql://test:test@127.0.0.1:4000/test",
        ),
        (
            pc.services.mariadb(user="root", root_password="secret", driver="pymysql"),
            3306,
            {"MARIADB_ROOT_PASSWORD": "secret", "MARIADB_DATABASE": "test"},
            "mysql+pymysql://root:secret@127.0.0.1:4000/test",
        ),
        (pc.services.redis(), 6379, {}, "redis://127.0.0.1:4000/0"),
        (pc.services.redis(password="x y"), 6379, {}, "redis://:x%20y@127.0.0.1:4000/0"),
        (
            pc.services.mongodb(),
            27017,
            {"MONGO_INITDB_DATABASE": "test"},
            "mongodb://127.0.0.1:4000/test",
        ),
        (
            pc.services.mongodb(user="u", password="p"),
            27017,
            {
                "MONGO_INITDB_DATABASE": "test",
                "MONGO_INITDB_ROOT_USERNAME": "u",
                "MONGO_INITDB_ROOT_PASSWORD": "p",
            },
            "mongodb://u:p@127.0.0.1:4000/test?authSource=admin",
        ),
        (
            pc.services.rabbitmq(),
            5672,
            {
                "RABBITMQ_DEFAULT_USER": "guest",
                "RABBITMQ_DEFAULT_PASS": "guest",
                "RABBITMQ_DEFAULT_VHOST": "/",
            },
            "amqp://guest:guest@127.0.0.1:4000/%2F",
        ),
        (
            pc.services.minio(access_key="a", secret_key="b"),
            9000,
            {"MINIO_ROOT_USER": "a", "MINIO_ROOT_PASSWORD": "b"},
            "http://127.0.0.1:4000",
        ),
        (pc.services.nginx(port=8080), 8080, {}, "http://127.0.0.1:4000"),
        (pc.services.registry(), 5000, {}, "127.0.0.1:4000"),
    ],
    ids=lambda value: value.image if isinstance(value, Service) else "",
)
def test_a_service_tells_its_image_what_its_url_says(
    service: Service, port: int, env: dict[str, str], where: str
) -> None:
    assert service.port == port
    assert service.env == env
    assert url(service) == where


def test_kafka_tells_programs_of_the_host_and_containers_different_addresses() -> None:
    service = pc.services.kafka()
    told = service.advertised["KAFKA_ADVERTISED_LISTENERS"].format(host="127.0.0.1", port=4000, name="queue")
    assert told == "HOST://127.0.0.1:4000,INNER://queue:19092"
    listeners = {line.partition("://")[0] for line in service.env["KAFKA_LISTENERS"].split(",")}
    protocols = {
        line.partition(":")[0] for line in service.env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    }
    assert listeners == protocols == {"HOST", "INNER", "CONTROLLER"}
    assert service.inner_port == 19092
    assert url(service) == "127.0.0.1:4000"


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (
            pc.services.postgres(user="u", database="d"),
            "exit code 0 of 'pg_isready -q -h 127.0.0.1 -p 5432 -U u -d d'",
        ),
        (
            pc.services.mysql(),
            "exit code 0 of 'mysqladmin ping --silent --protocol=tcp --host=127.0.0.1 --port=3306'",
        ),
        (
            pc.services.mariadb(),
            "exit code 0 of 'mariadb-admin ping --silent --protocol=tcp --host=127.0.0.1 --port=3306'",
        ),
        (
            pc.services.mongodb(),
            (
                'exit code 0 of \'sh -c mongosh --quiet --host "$(hostname -i)" '
                '--eval "db.runCommand({ping: 1}).ok"\''
            ),
        ),
        (pc.services.rabbitmq(), "port 5672/tcp and 'Server startup complete' in its output"),
        (pc.services.kafka(), "port 9092/tcp and 'Kafka Server started' in its output"),
        (pc.services.minio(), "GET http://localhost:9000/minio/health/live"),
        (pc.services.registry(), "GET http://localhost:5000/v2/"),
        (Service(image="x", port=7, url=""), "port 7/tcp"),
    ],
    ids=lambda value: value.image if isinstance(value, Service) else "",
)
def test_a_service_is_ready_when_its_clients_would_be_served(service: Service, said: str) -> None:
    assert str(service.ready) == said


def test_one_of_your_own_takes_ten_lines() -> None:
    def meilisearch(image: str = "getmeili/meilisearch:v1.12", key: str = "secret") -> pc.services.Service:
        return pc.services.Service(
            image=image,
            port=7700,
            env={"MEILI_MASTER_KEY": key},
            settings={"key": key},
            wait=pc.wait.http("/health", 7700),
            url="http://{host}:{port}",
        )

    service = meilisearch(key="other")
    assert (service.settings["key"], url(service)) == ("other", "http://127.0.0.1:4000")


def test_further_options_are_added_and_the_service_stays_as_it_is() -> None:
    service = pc.services.redis()
    richer = service.with_options(memory="64m", env={"A": "1"}).with_options(network="net")
    assert (richer.options, richer.env) == ({"memory": "64m", "network": "net"}, {"A": "1"})
    assert (service.options, service.env) == ({}, {})
    assert service.replace(wait=waits.log("up")).ready == waits.log("up")


def test_variables_may_be_given_in_every_form_that_run_takes() -> None:
    assert _mapping(["A=1=2", "B"]) == {"A": "1=2", "B": None}


def test_ports_of_a_service_are_given_as_a_mapping() -> None:
    with pytest.raises(pc.errors.InvalidOption, match="give a mapping"):
        pc.services.redis().create(ports=["80"])
