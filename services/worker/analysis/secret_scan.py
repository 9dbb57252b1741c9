"""Searches files for secrets with detect-secrets: a program of its own, started by services/worker/analysis/tools.py.

`python -I secret_scan.py <folder> <list> <seconds>`: the list names files below the folder, one a line, as JSON texts.
Prints one JSON object: `found` holds [file, line, kind] and never a value; `unsearched` the files that took too long.
In a process of its own, because one line made for it keeps detect-secrets' expressions busy for hours, and only a main
thread can be interrupted there.
"""

import signal
import sys
import time
from pathlib import Path

import orjson
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

FILE_SECONDS = 5.0
_PLUGINS = (
    *("ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector"),
    *("DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector"),
    *("JwtTokenDetector", "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector"),
    *("PypiTokenDetector", "SendGridDetector", "SlackDetector", "SquareOAuthDetector", "StripeDetector"),
    *("TelegramBotTokenDetector", "TwilioKeyDetector", "KeywordDetector"),
)
# Without the verification policy: it would use what it has found.
_FILTERS = (
    "allowlist.is_line_allowlisted",
    "heuristic.is_templated_secret",
    "heuristic.is_indirect_reference",
    "heuristic.is_likely_id_string",
    "heuristic.is_potential_uuid",
    "heuristic.is_sequential_string",
    "heuristic.is_lock_file",
)
_SETTINGS = {
    "plugins_used": [{"name": name} for name in _PLUGINS],
    "filters_used": [{"path": f"detect_secrets.filters.{name}"} for name in _FILTERS],
}


class _TooSlow(BaseException):
    """This file takes too long. No Exception, so that nothing on the way takes it for a file that cannot be read."""


def main(folder: str, listing: str, seconds: str) -> int:
    """Search, and print what was found."""
    paths = [orjson.loads(line) for line in Path(listing).read_bytes().splitlines()]
    deadline = time.monotonic() + float(seconds)
    signal.signal(signal.SIGALRM, _stop)
    unsearched = []
    with transient_settings(_SETTINGS):
        collection = SecretsCollection(root=folder)
        for path in paths:
            left = min(FILE_SECONDS, deadline - time.monotonic())
            if left <= 0 or not _searched(collection, path, left):
                unsearched.append(path)
        found = [[name, secret.line_number, secret.type] for name, secret in collection]
    sys.stdout.buffer.write(orjson.dumps({"found": found, "unsearched": unsearched}))
    return 0


def _searched(collection: SecretsCollection, path: str, seconds: float) -> bool:
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        collection.scan_file(path)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return True
    except _TooSlow:
        return False


def _stop(_number: int, _frame: object) -> None:
    raise _TooSlow


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
