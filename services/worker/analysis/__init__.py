"""The parts of the analysis task: tools, findings, SARIF, dependencies, comparison, notification."""
