"""Kafka: producer, consumers, topics and dead letters. The only place that imports confluent_kafka."""
