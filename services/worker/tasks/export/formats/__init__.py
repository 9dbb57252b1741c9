"""One module a format. Each has `write(report, stream)`, which returns how many rows its main table had."""
