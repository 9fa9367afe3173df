"""The lives of this node's engines: a process each, watched, started again, given up."""
