"""What a model is called, where its files are and what they say, before anything is loaded."""
