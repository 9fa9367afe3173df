"""How a request finds an engine, and stays with one until it is answered."""
