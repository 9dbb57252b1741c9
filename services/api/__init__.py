"""HTTP in, transactions out. The api writes definitions and never talks to Kafka (DESIGN section 2)."""
