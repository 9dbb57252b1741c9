"""The dead letters as rows, so that they can be listed and sent again without talking to Kafka.

Revision ID: 0008_dead_letters
Revises: 0007_open_jobs
"""

from alembic import op

revision = "0008_dead_letters"
down_revision = "0007_open_jobs"
branch_labels = None
depends_on = None

TABLES = """
-- Every message of runs.dead, as health has read it there: the original key, headers and value, byte for byte, and what
-- the headers added to it say. `headers` is a JSON array of [name, base64 or null], as text: jsonb takes no NUL.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    put_aside_at timestamptz NOT NULL,
    reason text NOT NULL,
    consumer text NOT NULL,
    topic text,
    truncated boolean NOT NULL,
    key bytea,
    headers text NOT NULL,
    value bytea,
    event_type text,
    schedule_id bigint,
    job_id bigint,
    project_id bigint
);
-- Reading a letter again changes nothing; in a topic that was made anew, the same place holds another letter.
CREATE UNIQUE INDEX dead_letters_place ON dead_letters (kafka_partition, kafka_offset, md5(coalesce(value, '')));
CREATE INDEX dead_letters_project ON dead_letters (project_id, id);
CREATE INDEX dead_letters_put_aside ON dead_letters (put_aside_at);

-- Written by the api: who sent a letter again, and as which job (null: as the message it was).
CREATE TABLE dead_letter_resends (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter_id bigint NOT NULL,
    resent_at timestamptz NOT NULL,
    resent_by text NOT NULL,
    job_id bigint
);
CREATE INDEX dead_letter_resends_letter ON dead_letter_resends (letter_id, id);
CREATE INDEX dead_letter_resends_at ON dead_letter_resends (resent_at);
"""


def upgrade() -> None:
    """Add them."""
    op.execute(TABLES)


def downgrade() -> None:
    """Take them back; the letters stay in Kafka."""
    op.execute("DROP TABLE dead_letter_resends, dead_letters")
