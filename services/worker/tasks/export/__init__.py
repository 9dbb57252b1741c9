"""The task type `export`: a report of a project over a period, written as one artifact.

The worker's registry finds it here. Reading (shared/storage/reports.py), shaping (rows and figures) and writing (one
module a format) are apart, so that a new format is one file.
"""

from services.worker.tasks.export.handler import export

__all__ = ["export"]
