"""OpenAI's Responses API: requests, items, tools, and answers as objects and as typed events."""
