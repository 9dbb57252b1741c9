"""What the services share: rules, events, tables, and the adapters to PostgreSQL, Kafka and telemetry."""
