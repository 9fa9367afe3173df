"""What stands in the way of a mesh, or soon will: every node and link looked at, once."""
