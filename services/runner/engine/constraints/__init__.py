"""What an answer may consist of: its format, its calls, and how long it may be thought about."""
