"""Where each partition stands: what came, what is recorded and may be committed, and whether an offset was skipped.

Faust's own acknowledgement is not used: it acks an event whose agent raised, and can commit past an unprocessed message
(faust-streaming #606). Here an offset is committed only after the database holds its batch, and a hole between two
offsets is read once more before it is believed: compaction and transactions leave real holes, a rebalance must not.
"""

from collections.abc import Iterable

Partition = tuple[str, int]
"""(full topic name, partition)"""


class Positions:
    """All partitions of one consumer. Belongs to the event loop's thread."""

    def __init__(self, holes_allowed_in: Iterable[str] = ()) -> None:
        self._next: dict[Partition, int] = {}
        self._holes: dict[Partition, int] = {}
        self._recorded: dict[Partition, int] = {}
        self._holes_allowed_in = frozenset(holes_allowed_in)

    def forget(self) -> None:
        """The group is dividing its partitions anew: each begins again where Kafka's committed offset says."""
        self._next.clear()
        self._holes.clear()

    def accept(self, partition: Partition, offset: int) -> tuple[bool, int | None]:
        """Whether to take this record, and the offset to seek to when one before it is missing.

        A repeat (offset below the expected) is taken: recording is idempotent.
        """
        expected = self._next.get(partition)
        beyond = self._holes.get(partition)
        if beyond is not None:
            if offset > beyond:
                return False, None  # left over from before the seek
            del self._holes[partition]  # read again: either what was missing, or the same hole, which is real
        elif expected is not None and offset > expected and partition[0] not in self._holes_allowed_in:
            self._holes[partition] = offset
            return False, expected
        self._next[partition] = offset + 1
        return True, None

    def recorded(self, partition: Partition, offset: int) -> None:
        """The database holds everything of this partition up to `offset`."""
        self._recorded[partition] = offset + 1

    def take_committable(self) -> dict[Partition, int]:
        """The offsets to commit now; each is given once."""
        offsets, self._recorded = self._recorded, {}
        return offsets

    def not_committed(self, offsets: dict[Partition, int]) -> None:
        """These could not be committed: try again, unless newer ones are there."""
        self._recorded = {**offsets, **self._recorded}
