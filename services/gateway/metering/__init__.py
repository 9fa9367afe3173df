"""What requests took, what they cost, and how that comes into the books."""
