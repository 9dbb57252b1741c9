"""Every metric's name, labels and meaning, in one place. Rooms import the objects; nobody else names a metric.

Names in the reference are kept to the letter. Ratios run from 0 to 1, durations are seconds.
"""

from prometheus_client import Counter, Gauge, Histogram

_DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# --- dispatcher
DISPATCHED = Counter("commandcenter_dispatched_total", "Occurrences claimed and stored as jobs", ["trigger"])
SKIPPED = Counter("commandcenter_skipped_total", "Occurrences deliberately not run", ["reason"])
DISPATCH_DELAY = Histogram(
    "commandcenter_dispatch_delay_seconds",
    "From an occurrence's instant of dispatch to Kafka's acknowledgement of its run.due",
    buckets=_DELAYS,
)
CLAIM_BATCH = Histogram(
    "commandcenter_claim_batch_size", "Due schedules claimed in one transaction", buckets=(1, 10, 100, 500, 1000, 5000)
)
TICK_DURATION = Histogram("commandcenter_tick_duration_seconds", "One claiming transaction", buckets=_DELAYS)
SCHEDULES_DUE = Gauge("commandcenter_schedules_due", "Enabled schedules due and not yet claimed")
OUTBOX_DEPTH = Gauge("commandcenter_outbox_messages", "Messages stored and not yet acknowledged by Kafka")
OUTBOX_AGE = Gauge("commandcenter_outbox_oldest_age_seconds", "Age of the oldest unacknowledged outbox row")
TZDB_INFO = Gauge("commandcenter_tzdb_info", "1, with the release of the time zone database in use", ["version"])
LEADER = Gauge("commandcenter_dispatcher_leader", "1 on the dispatcher that leads, else 0")
LEADER_EPOCH = Gauge("commandcenter_dispatcher_epoch", "The epoch of the lease this dispatcher last saw")
LEADER_CHANGES = Counter("commandcenter_dispatcher_leader_changes_total", "Times this dispatcher won the lease")
RESCUED = Counter("commandcenter_rescued_total", "Attempts and jobs ended by the rescue", ["reason"])
RETRIES = Counter("commandcenter_retries_total", "Further attempts published")

# --- worker
RUNS_STARTED = Counter("commandcenter_runs_started_total", "Attempts begun", ["task_type"])
RUN_DURATION = Histogram(
    "commandcenter_run_duration_seconds",
    "One attempt's execution",
    ["task_type", "outcome"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600),
)
RUNS_IN_PROGRESS = Gauge("commandcenter_runs_in_progress", "Attempts executing now", ["task_type"])
DELIVERIES = Counter(
    "commandcenter_webhook_deliveries_total",
    "Attempts to deliver a webhook, by outcome: delivered, failed (tried again), rejected, gone, refused",
    ["outcome"],
)

# --- health: recording
EVENTS_RECORDED = Counter(
    "commandcenter_events_recorded_total", "Events on record, by what became of them", ["type", "verdict"]
)
RECORD_BATCH = Histogram(
    "commandcenter_record_batch_size", "Events recorded in one transaction", buckets=(1, 10, 50, 100, 250, 500, 1000)
)
RECORD_DURATION = Histogram("commandcenter_record_duration_seconds", "Recording one batch", buckets=_DELAYS)
END_TO_END_DELAY = Histogram(
    "commandcenter_end_to_end_delay_seconds",
    "From an occurrence's nominal instant to its job's end on record",
    buckets=(*_DELAYS, 900, 3600),
)
CHORE_LAST_RUN = Gauge(
    "commandcenter_chore_last_run_timestamp_seconds", "When a chore of the health service last ended well", ["chore"]
)
REPORT_DURATION = Gauge("commandcenter_health_report_duration_seconds", "How long the monitor's last report took")
REREAD = Counter(
    "commandcenter_consumer_reread_total", "Times a gap in the offsets made a consumer read again", ["topic"]
)

# --- api
REQUEST_DURATION = Histogram(
    "commandcenter_http_request_duration_seconds",
    "One HTTP request, from its first byte to its answer's last",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.015, 0.03, 0.04, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REFUSED = Counter("commandcenter_http_refused_total", "Requests refused by access control or limits", ["reason"])
CONFLICTS_FOUND = Counter("commandcenter_schedule_conflicts_found_total", "Conflicts reported at creation and edits")

# --- health: schedules and issues, from what is stored (services/health/exposition.py), so that counters go on after a
# restart. Exported by the one replica that holds the lease. COMMANDCENTER_METRICS_SCHEDULE_LIMIT bounds `schedule_id`.
STORED = {
    "runs": ("commandcenter_schedule_runs", "Ended jobs of a schedule by status (counter)", ("schedule_id", "status")),
    "duration": (
        "commandcenter_schedule_execution_duration_seconds",
        "Execution time of a schedule's ended jobs (sum and count)",
        ("schedule_id",),
    ),
    "total": ("commandcenter_schedules_total", "Schedules by status, enabled or disabled", ("status",)),
    "success_rate": ("schedule_success_rate", "A schedule's successes to its ended jobs, 0 to 1", ("schedule_id",)),
    "last_run": ("schedule_last_run_timestamp", "When a schedule last ran, seconds since the epoch", ("schedule_id",)),
    "info": (
        "commandcenter_schedule_info",
        "Always 1: joins a schedule to its name, project, task type and status",
        ("schedule_id", "name", "project_id", "task_type", "status"),
    ),
    "issues": ("commandcenter_health_open_issues", "Open health issues", ("kind", "severity")),
    "cut": ("commandcenter_schedule_metrics_cut", "Schedules left without metrics of their own by the limit", ()),
}

# --- every consumer
DEAD_LETTERS = Counter("commandcenter_dead_letters_total", "Messages put aside on runs.dead", ["consumer", "reason"])
CONSUMER_LAG = Gauge("commandcenter_consumer_lag_messages", "Messages not yet consumed", ["consumer", "topic"])

# --- failures that were survived
FAULTS = Counter("commandcenter_faults_total", "Faults caught and survived", ["service", "kind"])
