"""webhook_delivery: sends a payload to a registered webhook, signed as Standard Webhooks says.

The worker's registry finds it here. The receiver may answer anything, or nothing: every attempt is bounded, recorded
in the delivery log and judged by its status code.
"""
