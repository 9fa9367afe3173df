"""One loaded model, served: the only folder that knows mlx."""
