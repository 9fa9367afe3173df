"""What is said: messages, ids, subjects, error codes. Knows msgspec and nobody else."""
