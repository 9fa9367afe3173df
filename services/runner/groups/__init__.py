"""What a node does for ranks of a group beyond what it does for any engine."""
