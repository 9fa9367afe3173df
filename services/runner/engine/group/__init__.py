"""One model over several processes: rank 0 decides and answers, the others do as it says."""
