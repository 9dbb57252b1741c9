"""The worker: takes due runs from Kafka, claims each attempt once, executes it, and answers with its result."""
