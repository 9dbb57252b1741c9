"""The fixed name under which a process belongs to its consumer group. Used by the worker and by health."""

import hashlib
from collections.abc import Sequence


def member_of(name: str, subscribed: Sequence[str]) -> str:
    """The member name of a replica: one for each set of what it subscribes to.

    Kafka gives a member that comes back under its name its old partitions, without looking whether it asks for other
    topics now (seen with a plug-in that was installed: its runs were queued for ever). With another set it comes as
    somebody else, and is given partitions of all its topics when its old session ends.
    """
    return f"{name}.{hashlib.sha256(' '.join(subscribed).encode()).hexdigest()[:8]}"
