"""Models come when they are asked for, and make room when they are not."""
