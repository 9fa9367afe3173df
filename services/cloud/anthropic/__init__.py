"""Upstreams that speak Anthropic's protocol."""
