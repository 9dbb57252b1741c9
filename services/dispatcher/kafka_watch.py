"""What the relay knows of Kafka: whether it takes messages, and the sentence for /readyz and the log when it does not.

librdkafka reports a broker that is gone at once, but one that is frozen only when its requests time out, which is half
a minute later. So silence is judged here: by what is under way without an acknowledgement, else by asking.
"""

from shared import clock
from shared.kafka.publisher import Publisher
from shared.telemetry.logging import get_logger
from shared.telemetry.metrics import FAULTS

log = get_logger(__name__)

STARTING = "not connected to Kafka yet"
SILENT_SECONDS = 5.0
"""Something is under way and nothing was acknowledged for so long: Kafka is silent."""
ASK_EVERY_SECONDS = 4.0
"""How often an idle relay asks Kafka whether it is there; each look of the relay while it is said not to be."""
ANSWER_SECONDS = 1.5


class KafkaWatch:
    """Used by the relay's thread; `sentence` may be read by any."""

    def __init__(self) -> None:
        self.sentence: str | None = STARTING
        """None while Kafka takes messages."""
        self._heard = self._asked = clock.monotonic()
        self._waiting = False

    def acknowledged(self) -> None:
        """A message was."""
        self._is_there("Kafka acknowledges again")

    def answered(self) -> None:
        """A request was."""
        self._is_there("Kafka answers again")

    def trouble(self, sentence: str) -> None:
        """It does not take messages, and why."""
        # librdkafka changes its words with every attempt: the first is worth a line, /readyz has the latest.
        if self.sentence in (None, STARTING):
            log.warning("Kafka does not take messages, waiting for it: %s", sentence, action="kafka.lost")
            FAULTS.labels("dispatcher", "kafka").inc()
        self.sentence = f"Kafka does not take messages: {sentence}"

    def look(self, publisher: Publisher, under_way: int) -> None:
        """Judge the silence. Waits for an answer, briefly, when no message is under way whose outcome would tell."""
        now = clock.monotonic()
        if under_way:
            if not self._waiting:
                self._waiting, self._heard = True, now
            silent = now - self._heard
            if silent > SILENT_SECONDS:
                self.trouble(f"it has acknowledged none of {under_way} messages for {silent:.0f} s")
            return
        self._waiting = False
        if self.sentence is not None or now - self._asked >= ASK_EVERY_SECONDS:
            if publisher.answers(ANSWER_SECONDS):
                self.answered()
            else:
                self.trouble(f"it does not answer within {ANSWER_SECONDS:g} s")
            self._asked = clock.monotonic()

    def _is_there(self, words: str) -> None:
        if self.sentence not in (None, STARTING):
            log.info(words, action="kafka.back")
        self.sentence = None
        self._heard = clock.monotonic()
