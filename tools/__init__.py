"""What `make check` and `make lock` run. Each `check_<what>.py` is one check of its own: `main() -> list[str]`."""
