"""What every request can reach: built once in wiring, kept at `app.state.context`."""

from dataclasses import dataclass

from services.api.access.authenticator import Authenticator
from services.api.access.rate import RateLimiter
from services.api.settings import Settings
from shared.artifacts import ArtifactStore
from shared.process import Process
from shared.secrets import SecretBox
from shared.storage.database import Database
from shared.storage.pulse import Pulse


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a running api."""

    settings: Settings
    process: Process
    database: Database
    pulse: Pulse
    authenticator: Authenticator
    limiter: RateLimiter
    artifacts: ArtifactStore
    secrets: SecretBox
