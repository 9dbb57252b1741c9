"""Bodies of projects, repositories, webhooks, task types, keys, attempts, audit and health."""

from collections.abc import ItemsView
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from services.api.answers import second
from services.api.models.fields import Body, Count, Description, Id, Instant, Name, Page, Shape, needed


class SupportsItems(Protocol):
    """A mapping, or a row's view of itself as one."""

    def items(self) -> ItemsView[Any, Any]: ...


Url = Annotated[str, Field(min_length=1, max_length=2048)]
Branch = Annotated[str, Field(min_length=1, max_length=255)]
EventName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.*]+$")]
Secret = Annotated[str, Field(min_length=24, max_length=200, pattern=r"^[!-~]+$")]
RoleName = Literal["viewer", "operator", "admin"]


class ProjectCreate(Body):
    """A new project."""

    name: Name = Field(examples=["backend"])
    description: Description | None = None
    weight: int = Field(default=1, ge=1, le=100, description="Its share of dispatching while there is a backlog.")


class ProjectUpdate(Body):
    """What to change of a project."""

    name: Name = needed()
    description: Description | None = None
    weight: int | None = Field(default=None, ge=1, le=100)


class ProjectShape(Shape):
    """A project."""

    id: int
    name: str
    description: str | None
    weight: int
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectList(Page):
    """A page of projects."""

    projects: list[ProjectShape]


class RepositoryCreate(Body):
    """A new repository."""

    project_id: Id = Field(examples=[1])
    name: Name = Field(examples=["main"])
    url: Url = Field(examples=["https://github.com/example/project.git"])
    default_branch: Branch | None = Field(default=None, examples=["main"])


class RepositoryUpdate(Body):
    """What to change of a repository."""

    name: Name = needed()
    url: Url = needed()
    default_branch: Branch | None = None


class RepositoryShape(Shape):
    """A repository."""

    id: int
    project_id: int
    name: str
    url: str
    default_branch: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class RepositoryList(Page):
    """A page of repositories."""

    repositories: list[RepositoryShape]


class WebhookCreate(Body):
    """A new webhook. Secrets are written only: nobody can read them back."""

    project_id: Id = Field(examples=[1])
    name: Name = Field(examples=["deployments"])
    url: Url = Field(examples=["https://example.com/hooks/commandcenter"])
    events: list[EventName] = Field(default_factory=list, max_length=50)
    enabled: bool = True
    secret: Secret | None = Field(
        default=None,
        description="Signs deliveries (Standard Webhooks: whsec_ and base64). None: one is made, shown once.",
    )


class WebhookUpdate(Body):
    """What to change of a webhook; a new secret is used together with the old one for signing."""

    name: Name = needed()
    url: Url = needed()
    events: list[EventName] | None = Field(default=None, max_length=50)
    enabled: bool | None = None
    secret: Secret | None = None


class WebhookShape(Shape):
    """A webhook."""

    id: int
    project_id: int
    name: str
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    has_secret: bool
    version: int
    created_at: datetime
    updated_at: datetime


class WebhookCreated(WebhookShape):
    """A new webhook, with the secret where one was made for it: it is never shown again."""

    secret: str | None


class WebhookList(Page):
    """A page of webhooks."""

    webhooks: list[WebhookShape]


class WebhookDeliveryShape(Shape):
    """One attempt to deliver."""

    id: int
    webhook_id: int
    project_id: int
    schedule_id: int
    job_id: int
    attempt: int
    message_id: str = Field(description="The webhook-id header: the same for every attempt of a job.")
    event: str
    url: str
    sent_at: datetime
    outcome: Literal["sending", "delivered", "failed", "rejected", "gone", "refused"]
    status_code: int | None = Field(description="What the receiver answered; null where nothing came.")
    duration_seconds: float | None
    address: str | None = Field(description="The judged address it went to.")
    response_body: str | None = Field(description="The first 4,096 bytes of the answer's body.")
    response_cut: bool | None = Field(description="Whether there was more.")
    error: str | None


class WebhookDeliveryList(Page):
    """A page of a webhook's delivery log, newest first."""

    deliveries: list[WebhookDeliveryShape]


class TaskTypeCreate(Body):
    """An external task type: its runs are published for a consumer elsewhere."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,47}$", examples=["render_video"])
    parameters_schema: dict[str, Any] = Field(description="JSON Schema (draft 2020-12) of its task_parameters.")
    description: Description | None = None


class TaskTypeShape(Shape):
    """A task type."""

    name: str
    parameters_schema: dict[str, Any]
    owner: Literal["built-in", "external"]
    description: str | None
    topic: str = Field(description="Where its due runs are published, without the prefix.")
    created_at: datetime


class TaskTypeList(Page):
    """All task types."""

    task_types: list[TaskTypeShape]


class KeyCreate(Body):
    """A new API key."""

    name: Name = Field(examples=["ci"])
    role: RoleName
    project_ids: list[Id] | None = Field(default=None, max_length=1000, description="Null: every project.")
    expires_at: Instant | None = None


class KeyShape(Shape):
    """An API key, without its secret."""

    id: int
    name: str
    prefix: str
    role: RoleName
    project_ids: list[int] | None
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(KeyShape):
    """A key with its secret, shown this once."""

    key: str


class KeyList(Page):
    """A page of keys."""

    keys: list[KeyShape]


class AttemptClaim(Body):
    """A worker that wants to start an attempt."""

    worker: str = Field(min_length=1, max_length=200, pattern=r"^[!-~]+$", examples=["render-7"])
    lease_seconds: int = Field(default=20, ge=5, le=300, description="Renew it by heartbeats before it ends.")


class AttemptClaimed(Shape):
    """An attempt that is this worker's."""

    job_id: int
    attempt: int
    worker: str
    lease_until: datetime


class AuditEntry(Shape):
    """One fact."""

    id: int
    at: datetime
    action: str
    actor: str | None
    address: str | None
    project_id: int | None
    schedule_id: int | None
    job_id: int | None
    attempt: int | None
    event_id: str
    detail: dict[str, Any]


class AuditList(Page):
    """A page of the audit log, newest first."""

    entries: list[AuditEntry]


class ChainProof(Shape):
    """How far one chain of the audit log was followed in this answer."""

    chain: str
    from_place: Count = Field(description="Everything up to here was followed before.")
    to_place: Count
    entries: Count = Field(description="Entries looked at; the others were dropped by retention, which noted them.")
    end_place: Count = Field(description="The last entry that was written.")
    end_hash: str = Field(description="Its hash: keep it, and compare it with what this place holds later.")
    broken: str | None = Field(description="The first place that does not hold, else null.")


class AuditVerification(Shape):
    """Whether the audit log holds, as far as it was followed."""

    holds: bool = Field(description="No chain followed so far is broken.")
    complete: bool = Field(description="Every chain was followed to its end. Else ask again with the cursor.")
    entries: Count = Field(description="Entries looked at since the first answer.")
    chains: list[ChainProof]
    broken: list[str] = Field(description="What does not hold, of all answers since the first; 20 chains at most.")
    cursor: str | None = Field(description="Where to go on; null when all is done.")


class HealthIssueShape(Shape):
    """Something that is wrong."""

    id: str
    kind: str
    severity: Literal["warning", "critical"]
    schedule_id: int | None
    project_id: int | None
    since: datetime
    detail: str
    remedy: str | None = Field(description="What to do first, with the runbook's entry.")


class HealthReport(Shape):
    """The monitor's last report."""

    reported_at: datetime | None = Field(description="Null before the first report.")
    schedules: Count = Field(description="How many schedules there are in sight.")
    total: Count = Field(description="Open issues in sight; 1,000 of them at most are listed.")
    issues: list[HealthIssueShape]


class DispatcherReport(Shape):
    """Who leads among the dispatchers."""

    leader: str | None = Field(description="The dispatcher that leads, by its instance's name; null while none does.")
    epoch: int = Field(description="Raised by one with every change of the leader.")
    since: datetime | None = Field(description="When it took over.")


def shown_row(row: SupportsItems, *hidden: str) -> dict[str, Any]:
    """A row as the api answers it: instants of the definition to the second, some columns left out."""
    shown = {name: value for name, value in row.items() if name not in hidden}
    for name in ("created_at", "updated_at"):
        if name in shown:
            shown[name] = second(shown[name])
    return shown
