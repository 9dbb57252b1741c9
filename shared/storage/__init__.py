"""PostgreSQL: the connection, one repository a table, leases and the outbox. The only place that imports sqlalchemy."""
