"""Requests that go to an upstream in their clients' own words, and answers in the upstream's."""
