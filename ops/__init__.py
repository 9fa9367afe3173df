"""How it is run: the odyssai command, the supervisor behind `odyssai up`, the benchmarks."""
