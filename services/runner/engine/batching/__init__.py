"""What a step runs: prompts read in chunks beside answers decoded together, within their memory."""
