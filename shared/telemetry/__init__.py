"""Logs, metrics, traces and probes: how every service says what it does."""
