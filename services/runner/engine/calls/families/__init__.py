"""One module for each syntax of calls: how it is read, and the grammar that allows nothing else."""
