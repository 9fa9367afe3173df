"""Requests that may be asked again: one answer for one Idempotency-Key, at every gateway."""
