"""What an engine says of itself: that it is there, what it serves, and how busy it is."""
