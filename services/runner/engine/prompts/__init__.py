"""From a conversation to the tokens that the model reads, by its own template."""
