"""Links as the nodes measured them now and then, the fastest between each two."""

from collections.abc import Iterator
from itertools import combinations

from ops.console.nodes import fastest
from ops.doctor.finding import Finding, doubtful, good
from ops.words import brief, rate
from proto.link import Link
from proto.overview import Overview

SLOW_LINK_S = 0.002
"""There and back; Ethernet takes a fifth of it."""
SLOW_LINK_RATE = 80e6
"""Gigabit Ethernet carries more than 110 MB/s."""
UNLIKE = 3.0
"""Times that bytes may come faster one way than the other."""
FAST_RATE = 500e6
"""Above it the machines, not the link, are what is measured."""


def links(overview: Overview) -> Iterator[Finding]:
    """Of nodes that are heard."""
    living = {n.node: fastest(n.links) for n in overview.nodes if n.state != "silent"}
    for node, known in living.items():
        for peer, link in known.items():
            if peer in living:
                yield _link(f"{node} → {peer}", link)
    for one, other in combinations(living, 2):
        there, back = living[one].get(other), living[other].get(one)
        if there and back:
            yield from _unlike(f"{one} ↔ {other}", there, back)


def _link(subject: str, link: Link) -> Finding:
    if link.round_trip_s is None:
        return doubtful(
            subject, "link", f"{link.address} was not reached ({link.trouble}): no model can be "
            "spread over both; let the firewall pass connections between nodes",
        )  # fmt: skip
    said = ", ".join(filter(None, (brief(link.round_trip_s), rate(link.bytes_per_s))))
    said = f"{said} over {link.address}"
    is_slow = link.round_trip_s > SLOW_LINK_S or 0 < link.bytes_per_s < SLOW_LINK_RATE
    if is_slow:
        return doubtful(
            subject, "link", f"{said}: slow for a model that is spread over both, where a cable "
            f"takes less than {brief(SLOW_LINK_S)} and carries 110 MB/s and more; no Wi-Fi?",
        )  # fmt: skip
    return good(subject, "link", said)


def _unlike(subject: str, there: Link, back: Link) -> Iterator[Finding]:
    """Each node measures how fast the other's bytes come."""
    if (there.round_trip_s is None) != (back.round_trip_s is None):
        yield doubtful(
            subject, "link", "one reaches the other and is not reached by it: a firewall on one "
            "of both lets nothing in",
        )  # fmt: skip
    rates = (there.bytes_per_s, back.bytes_per_s)
    if 0 < min(rates) < FAST_RATE and max(rates) > UNLIKE * min(rates):
        yield doubtful(
            subject, "link", f"{rate(back.bytes_per_s)} there and {rate(there.bytes_per_s)} back: "
            "a cable or port that is half broken, or another way for one direction; change the "
            "cable, and see the routes of both",
        )  # fmt: skip
