"""Which dispatcher leads, as the api shows it."""

from __future__ import annotations

from tests.integration.api.support import Api

TAKE = (
    "UPDATE leases SET holder = 'one', epoch = epoch + 1, acquired_at = '2026-01-01T00:00:00Z',"
    " expires_at = {until} WHERE name = 'dispatcher' RETURNING epoch"
)


def test_the_leader_its_epoch_and_since_when_it_leads(api: Api) -> None:
    ((epoch,),) = api.rows(TAKE.format(until="now() + interval '1 hour'"))
    expected = {"leader": "one", "epoch": epoch, "since": "2026-01-01T00:00:00Z"}
    assert api.client.get("/api/v1/health/dispatcher").json() == expected
    ((epoch,),) = api.rows(TAKE.format(until="'-infinity'"))
    nobody = {"leader": None, "epoch": epoch, "since": None}
    assert api.client.get("/api/v1/health/dispatcher").json() == nobody
