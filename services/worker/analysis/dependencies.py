"""What a repository depends on: the inventory that the analysis task makes with `include_dependencies`.

Called by services/worker/tasks/analysis.py. Manifests and lock files are read, never executed or resolved; the inventory
becomes a CycloneDX document, and its packages may be audited through an OSV-compatible endpoint.
"""
