"""The vendors' wire types and their mapping to and from the canonical conversation. Pure."""
