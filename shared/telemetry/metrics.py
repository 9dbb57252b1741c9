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
REREAD = Counter("commandcenter_consumer_reread_total", "Times a gap in the offsets made a consumer read again", ["topic"])

# --- every consumer
DEAD_LETTERS = Counter("commandcenter_dead_letters_total", "Messages put aside on runs.dead", ["consumer", "reason"])
CONSUMER_LAG = Gauge("commandcenter_consumer_lag_messages", "Messages not yet consumed", ["consumer", "topic"])

# --- failures that were survived
FAULTS = Counter("commandcenter_faults_total", "Faults caught and survived", ["service", "kind"])
