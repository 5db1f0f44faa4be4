"""Databases. Their images' pages on hub.docker.com say which variables they take."""

from __future__ import annotations

from pycontainer.engine import waits
from pycontainer.services.service import Service

__all__ = ["mariadb", "mongodb", "mysql", "postgres", "redis"]

_INTERVAL_S = 0.05


def postgres(
    image: str = "postgres:17",
    *,
    user: str = "postgres",
    password: str = "postgres",
    database: str = "test",
    driver: str = "",
) -> Service:
    """PostgreSQL. driver: of SQLAlchemy, as "psycopg2", for the scheme of the url.

    Ready when it answers on TCP: the server that runs the image's initialisation scripts has no TCP.
    Source: docker-library/postgres, docker-entrypoint.sh; pg_isready(1).
    """
    return Service(
        image=image,
        port=5432,
        env={"POSTGRES_USER": user, "POSTGRES_PASSWORD": password, "POSTGRES_DB": database},
        settings={"user": user, "password": password, "database": database},
        wait=waits.exec(
            ["pg_isready", "-q", "-h", "127.0.0.1", "-p", "5432", "-U", user, "-d", database],
            interval=_INTERVAL_S,
        ),
        url=f"{_scheme('postgresql', driver)}://{{user}}:{{password}}@{{host}}:{{port}}/{{database}}",
    )


def mysql(
    image: str = "mysql:8.4",
    *,
    user: str = "test",
    password: str = "test",
    database: str = "test",
    root_password: str = "test",
    driver: str = "",
) -> Service:
    """MySQL. driver: of SQLAlchemy, as "pymysql", for the scheme of the url.

    Ready when it answers on TCP: the server that runs the image's initialisation scripts has no TCP.
    Source: docker-library/mysql, docker-entrypoint.sh (--skip-networking); mysqladmin(1).
    """
    return _mysql_class("MYSQL", "mysqladmin", image, user, password, database, root_password, driver)


def mariadb(
    image: str = "mariadb:11.4",
    *,
    user: str = "test",
    password: str = "test",
    database: str = "test",
    root_password: str = "test",
    driver: str = "",
) -> Service:
    """MariaDB. driver: of SQLAlchemy, as "pymysql"; the url's scheme is MySQL's, which all clients know.

    Source: MariaDB/mariadb-docker, docker-entrypoint.sh (--skip-networking); mariadb-admin(1).
    """
    return _mysql_class("MARIADB", "mariadb-admin", image, user, password, database, root_password, driver)


def _mysql_class(
    prefix: str,
    admin: str,
    image: str,
    user: str,
    password: str,
    database: str,
    root_password: str,
    driver: str,
) -> Service:
    env = {f"{prefix}_ROOT_PASSWORD": root_password, f"{prefix}_DATABASE": database}
    if user != "root":  # whom the image has anyway, and refuses to make
        env |= {f"{prefix}_USER": user, f"{prefix}_PASSWORD": password}
    else:
        password = root_password
    return Service(
        image=image,
        port=3306,
        env=env,
        settings={"user": user, "password": password, "database": database, "root_password": root_password},
        # A server that refuses the user answers, too; it has no password to be seen in the list of processes.
        wait=waits.exec(
            [admin, "ping", "--silent", "--protocol=tcp", "--host=127.0.0.1", "--port=3306"],
            interval=_INTERVAL_S,
        ),
        url=f"{_scheme('mysql', driver)}://{{user}}:{{password}}@{{host}}:{{port}}/{{database}}",
    )


def mongodb(image: str = "mongo:7", *, user: str = "", password: str = "", database: str = "test") -> Service:
    """MongoDB; without a user it asks for no password.

    It is ready when it answers on its own address: the server that makes the user and runs what lies in
    /docker-entrypoint-initdb.d is bound to 127.0.0.1. Source: docker-library/mongo, docker-entrypoint.sh.
    """
    env = {"MONGO_INITDB_ROOT_USERNAME": user, "MONGO_INITDB_ROOT_PASSWORD": password} if user else {}
    ping = 'mongosh --quiet --host "$(hostname -i)" --eval "db.runCommand({ping: 1}).ok"'
    return Service(
        image=image,
        port=27017,
        env={**env, "MONGO_INITDB_DATABASE": database},
        settings={"user": user, "password": password, "database": database},
        wait=waits.exec(["sh", "-c", ping]),
        url="mongodb://{user}:{password}@{host}:{port}/{database}?authSource=admin"
        if user
        else "mongodb://{host}:{port}/{database}",
    )


def redis(image: str = "redis:7", *, password: str = "") -> Service:
    """Redis, or what speaks its protocol (valkey/valkey); without a password it asks for none."""
    return Service(
        image=image,
        port=6379,
        command=["redis-server", "--requirepass", password] if password else None,
        settings={"password": password},
        wait=waits.port(6379),
        url="redis://:{password}@{host}:{port}/0" if password else "redis://{host}:{port}/0",
    )


def _scheme(name: str, driver: str) -> str:
    return f"{name}+{driver}" if driver else name
