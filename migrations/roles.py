"""What the services' role may do: everything with the data, nothing to the tables, and of the audit log only add to it.

Run with every migration step, so that new tables are covered. Where the services use the owner's own role, nothing is
separated: the audit log is then append-only by its triggers alone, which an owner can disable.
"""

from sqlalchemy import Connection, make_url, text

_SEALED = ("audit_log", "audit_chains", "audit_gaps", "alembic_version")
_EXISTS = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
_CREATE = text("SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', CAST(:role AS text), CAST(:password AS text))")
_PARTITIONS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_log'::regclass")
_GRANTS = """
GRANT USAGE ON SCHEMA public TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role};
REVOKE ALL ON {sealed} FROM {role};
GRANT SELECT, INSERT ON audit_log TO {role};
GRANT SELECT, INSERT, UPDATE ON audit_chains TO {role};
GRANT SELECT ON audit_gaps, alembic_version TO {role};
GRANT EXECUTE ON FUNCTION ensure_partitions(date, date), drop_partition(text, date), expire_default_audit(date),
    index_rare_types() TO {role};
"""


def separate(connection: Connection, services_url: str) -> None:
    """Make the services' role if it is missing, and grant it what it needs."""
    services = make_url(services_url)
    role, owner = services.username, connection.execute(text("SELECT current_user")).scalar_one()
    if role is None or role == owner:
        return
    if not connection.execute(_EXISTS, {"role": role}).scalar_one():
        statement = connection.execute(_CREATE, {"role": role, "password": services.password}).scalar_one()
        connection.execute(text(str(statement).replace(":", r"\:")))
    quoted = connection.dialect.identifier_preparer.quote(role)
    sealed = ", ".join([*_SEALED, *connection.scalars(_PARTITIONS)])
    connection.execute(text(_GRANTS.format(role=quoted, sealed=sealed)))
