"""How upstreams are called over HTTP: connections, patience, and what their refusals mean."""
