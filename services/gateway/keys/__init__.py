"""Who asks, by which API key, and how much it may take."""
