"""What app/backends.py is to the demo, on the real things: Redis and PostgreSQL."""

import os
from pathlib import Path

import psycopg2
import redis

PASSWORD = Path("/run/secrets/db-password")


class Cache:
    """Redis, called with the words of a command."""

    def __init__(self) -> None:
        self._client = redis.Redis.from_url(os.environ["CACHE"], decode_responses=True)

    def __call__(self, *words: object):
        return self._client.execute_command(*words)


def sql(statement: str, *values: object) -> list[tuple]:
    """Runs one statement in its own transaction and returns its rows."""
    connection = psycopg2.connect(os.environ["DATABASE"], password=PASSWORD.read_text())
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
