"""Projects: what schedules, repositories and webhooks belong to (table projects). Written by the api alone."""

from shared.storage.named import NamedTable

_TABLE = NamedTable("project", "projects", ("name", "description", "weight"), of_project=False)

get, list_page = _TABLE.get, _TABLE.list_page
insert, update = _TABLE.insert, _TABLE.update
