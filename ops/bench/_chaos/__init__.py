"""What `odyssai bench chaos` is made of: a mesh, its load, what is broken, and who checks."""
