"""The built-in task types, one handler a file. Heavy libraries are imported inside the handlers, in child processes."""
