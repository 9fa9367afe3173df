"""How a request finds an engine, and goes on with another one when that is lost."""
