"""How machines become part of a mesh: invited, found on the network, let in, sent away."""
