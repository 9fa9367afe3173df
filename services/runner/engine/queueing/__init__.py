"""Who is next: requests that wait, in an order that is fair between keys."""
