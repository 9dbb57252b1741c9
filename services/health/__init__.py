"""The health service: records what happened, judges schedules, notices what should have happened and did not."""
