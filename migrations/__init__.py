"""Database migrations: a step of its own (`python -m migrations`), never run by a service at start."""
