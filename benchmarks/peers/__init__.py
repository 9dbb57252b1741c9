"""Other schedulers, measured on the same servers in the same run; each is skipped where its tools are missing.

Kept in step with docs/dispatcher.md, which says what each does more and less than ours. The figures measured once for
peers that are not driven here (APScheduler, RedBeat, Quartz, django-celery-beat) are there too.
"""
