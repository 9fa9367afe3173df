"""The reign of the one scheduler that holds the lease: orders taken, jobs and plans written."""
