"""Leadership, the tick that claims what is due, the relay to Kafka, and the rescue of lost jobs."""
