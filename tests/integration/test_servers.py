"""The test servers themselves: real, shared, and apart for each test."""

from __future__ import annotations

import psycopg2

from deploy.local.kafka import answers
from deploy.local.postgres import libpq_url


def test_each_test_has_a_database_of_its_own(empty_database_url: str) -> None:
    connection = psycopg2.connect(libpq_url(empty_database_url))
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user, (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')")
        assert cursor.fetchone() == ("commandcenter", 0)
        cursor.execute("SHOW server_version_num")
        assert int((cursor.fetchone() or ("0",))[0]) >= 170_000
    connection.close()


def test_the_broker_answers(kafka_server: str) -> None:
    host, _, port = kafka_server.rpartition(":")
    assert answers(host, int(port))
