"""Readers of manifests and lock files, one module an ecosystem. They take a file's text and execute nothing."""
