"""Other schedulers, measured on servers of the same kind; each is skipped, and says so, where its tools are missing.

docs/dispatcher.md has their figures beside ours and says what each does more and less.
"""
