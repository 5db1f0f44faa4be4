"""Ready-made services for tests and development: what to start, when it is ready, and its URL; as data.

    with pc.services.postgres() as db:
        connect(db.url)

A function gives a `Service`, which starts nothing; entering it runs it. One of your own is a function that
returns a `Service`.
"""

from __future__ import annotations

from pycontainer.services.brokers import kafka, rabbitmq
from pycontainer.services.databases import mariadb, mongodb, mysql, postgres, redis
from pycontainer.services.service import Running, Service
from pycontainer.services.web import minio, nginx, registry

__all__ = [
    "Running",
    "Service",
    "kafka",
    "mariadb",
    "minio",
    "mongodb",
    "mysql",
    "nginx",
    "postgres",
    "rabbitmq",
    "redis",
    "registry",
]
