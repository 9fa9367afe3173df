"""An answer as it arrives: what is said, thought and called, told apart."""
