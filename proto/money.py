"""US dollars as whole numbers of 1e-9, so that sums are exact in whatever order they are made."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

NANO = 1_000_000_000
MOST_USD = 1_000_000_000
"""More than that nothing costs: what is said beyond is no amount."""
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def nano_usd(usd: Decimal | float) -> int:
    """The nearest. A float counts as the shortest number that is written so.

    Raises ValueError for what is no amount of money.
    """
    amount = usd if isinstance(usd, Decimal) else Decimal(repr(usd))
    if not amount.is_finite() or abs(amount) > MOST_USD:
        raise ValueError(f"{usd} is no amount of US dollars")
    with localcontext(_EXACT):
        return int((amount * NANO).to_integral_value())


def dollars(nano: int) -> float:
    """Nothing is lost below a million."""
    return nano / NANO


def decimal(nano: int) -> str:
    """In plain digits."""
    return f"{Decimal(nano) / NANO:f}"


def shown(nano: int) -> str:
    """For people: to the cent, or to as much as a smaller amount has to say."""
    if nano % (NANO // 100) == 0 or nano >= 100 * NANO:
        return f"${nano / NANO:,.2f}"
    return f"${nano / NANO:.9f}".rstrip("0")
