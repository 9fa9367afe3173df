"""What this node should run, and what its agent has to say about that."""
