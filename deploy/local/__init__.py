"""The local stack: a real Kafka, a real PostgreSQL and the four services, without Docker.

`python -m deploy.local start|stop|status|logs` is what the Makefile calls; tests and benchmarks start single servers
with `KafkaServer` and `PostgresServer`.
"""
