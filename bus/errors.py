"""What can go wrong between two services.

BusError
├── NotConnected   the bus server cannot be reached
│   └── TurnedAway   it does not know who we are
├── NobodyThere    no service listens at that address
├── NoAnswer       somebody listens but did not answer in time
│   └── Garbled        it answered in words that this version does not know
├── TooLarge       the message exceeds what the bus carries
├── Conflict       state was changed by somebody else in between
└── Foreign        the record is there, but not one that this version can read
"""


class BusError(Exception):
    """Something went wrong between two services."""


class NotConnected(BusError):
    """The bus server cannot be reached."""


class TurnedAway(NotConnected):
    """The bus server does not know the key or the password, or knows it no longer."""


class NobodyThere(BusError):
    """No service listens at that address."""


class NoAnswer(BusError):
    """Somebody listens but did not answer in time."""


class Garbled(NoAnswer):
    """Somebody answered in words that this version does not know."""


class TooLarge(BusError):
    """The message exceeds what the bus carries."""


class Conflict(BusError):
    """The state was changed by somebody else in between."""


class Foreign(BusError):
    """The record is there, but not one that this version can read: it is not written over."""
