"""Webhooks: where deliveries go (table webhooks). Written by the api, read by workers.

One fact comes from elsewhere: a worker disables the webhook whose endpoint answers 410. Enabling forgets why.

`secrets_encrypted` holds what shared/secrets.py sealed; nobody else can read it. Deleting erases it.
"""

from shared.storage.named import NamedTable

_TABLE = NamedTable(
    "webhook",
    "webhooks",
    ("name", "url", "events", "enabled", "secrets_encrypted"),
    read_only=("disabled_reason",),
    also_set=", disabled_reason = CASE WHEN :enabled THEN NULL ELSE disabled_reason END",
    also_erased=", secrets_encrypted = NULL",
)

get, list_page = _TABLE.get, _TABLE.list_page
insert, update, delete = _TABLE.insert, _TABLE.update, _TABLE.delete
