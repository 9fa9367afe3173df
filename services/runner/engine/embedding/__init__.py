"""Models that generate nothing: those that give vectors of texts, and those that rank documents."""
