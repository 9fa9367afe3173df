"""What engines say, as bytes for a client, and what is noted of it."""
