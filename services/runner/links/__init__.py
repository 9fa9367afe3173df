"""How fast this node reaches others: measured now and then, told in its heartbeat."""
