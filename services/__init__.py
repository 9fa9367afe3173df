"""Who speaks: one folder a process; they meet only on the bus."""
