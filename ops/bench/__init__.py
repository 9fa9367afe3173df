"""Measurements against aims: `odyssai bench NAME`.

A module is a benchmark; those that begin with an underscore are what benchmarks are made of.
All sides of a comparison take turns within one run, because only ratios outlive a busy machine.
"""
