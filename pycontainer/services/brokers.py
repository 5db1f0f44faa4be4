"""Message brokers."""

from __future__ import annotations

from pycontainer.engine import waits
from pycontainer.services.service import Service

__all__ = ["kafka", "rabbitmq"]

_INNER_PORT = 19092


def rabbitmq(
    image: str = "rabbitmq:4", *, user: str = "guest", password: str = "guest", vhost: str = "/"
) -> Service:
    """RabbitMQ; an image with "-management" serves its pages on port 15672, which then is to be published.

    Source: docker-library/docs, rabbitmq (RABBITMQ_DEFAULT_USER, _PASS, _VHOST); the URI scheme of AMQP.
    """
    return Service(
        image=image,
        port=5672,
        env={
            "RABBITMQ_DEFAULT_USER": user,
            "RABBITMQ_DEFAULT_PASS": password,
            "RABBITMQ_DEFAULT_VHOST": vhost,
        },
        settings={"user": user, "password": password, "vhost": vhost},
        wait=waits.port(5672) & waits.log("Server startup complete"),
        url="amqp://{user}:{password}@{host}:{port}/{vhost}",
    )


def kafka(image: str = "apache/kafka:4.0.0") -> Service:
    """Apache Kafka, one node that is broker and controller; its url is the bootstrap server, host and port.

    Programs of this host are told 127.0.0.1 and the published port, containers in a network with it its name
    and port 19092. Source: apache/kafka, docker/examples; KIP-975.
    """
    return Service(
        image=image,
        port=9092,
        env={
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": f"HOST://:9092,INNER://:{_INNER_PORT},CONTROLLER://:9093",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,HOST:PLAINTEXT,INNER:PLAINTEXT",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "INNER",
            # There is no second node to copy to, and none to wait for.
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        },
        advertised={"KAFKA_ADVERTISED_LISTENERS": f"HOST://{{host}}:{{port}},INNER://{{name}}:{_INNER_PORT}"},
        wait=waits.port(9092) & waits.log("Kafka Server started"),
        url="{host}:{port}",
        inner_port=_INNER_PORT,
    )
