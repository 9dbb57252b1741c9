"""Repositories: what analysis and sync work on (table repositories). Written by the api alone, read by workers."""

from shared.storage.named import NamedTable

_TABLE = NamedTable("repository", "repositories", ("name", "url", "default_branch"))

get, list_page = _TABLE.get, _TABLE.list_page
insert, update, delete = _TABLE.insert, _TABLE.update, _TABLE.delete
