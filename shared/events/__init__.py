"""What crosses Kafka: the CloudEvents envelope, the event types, and the topic registry."""
