"""The connection to the bus: publish, listen, ask, answer. The wire to NATS ends here.

Every process holds one connection for control, and those that carry tokens a
second one (``bus.stream``), so that a large request never delays a token.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from bus import tracing
from bus.address import Address
from bus.deadline import PATIENCE, patience_s
from bus.dialing import dial, hang_up, settled
from bus.ear import LOOK_S, Ear
from bus.errors import Garbled, NoAnswer, NobodyThere, NotConnected, TooLarge
from bus.unread import UnreadLedger
from proto.errors import Code, MeshError, Refused
from proto.subjects import Question, Subject

log = logging.getLogger(__name__)

M = TypeVar("M")
A = TypeVar("A")
T = TypeVar("T")

ANSWER_S = 5.0
"""How long a question waits unless the caller says otherwise."""
QUIET_S = 1.0
STATE_S = 2.0
"""How long one question to the servers that keep state waits."""
DEAF_PINGS = 3
"""So many pings of ours without an answer: the server does not hear us, nor we it."""
DOWN_S = 0.02
"""Between two looks at a connection that is down."""


async def uncaught(reply: Awaitable[T]) -> T:
    """Await it; a cancellation that came together with the reply, or its error, counts.

    Python 3.11's ``wait_for``, which nats-py uses, swallows it then
    (https://github.com/python/cpython/issues/86296), and nats-py does so itself
    while it flushes: a client that left at that moment would be generated for
    to the end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        value = await reply
    except Exception as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
    return value


class Hearing:
    """One subscription, for whoever wants to end it before the process ends."""

    def __init__(
        self, subscription: Subscription, ended: Callable[["Hearing"], None] = lambda _: None
    ) -> None:
        self._subscription = subscription
        self._ended = ended

    async def stop(self) -> None:
        """Hear nothing more; what was heard already is still answered."""
        self._ended(self)
        with suppress(nats.errors.Error):
            await self._subscription.unsubscribe()


class Bus:
    """What one process says and hears, tokens apart.

    A malformed message, and one that says it is from somebody else than its
    address proves, is logged, counted in ``unread`` and dropped here; it never
    ends a loop.
    """

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.holder = Address.parse(url).holder
        """As whom the server knows us; None where the server is not ours."""
        self.name = name
        """``kind:id``; the server reports it when the connection ends."""
        self.unread = UnreadLedger()
        self.on_reconnect: list[Callable[[], None]] = []
        self.on_refusal: list[Callable[[], None]] = []
        """Told when the server no longer lets us in."""
        self.ear = Ear(self._is_reached)
        self._client: Client
        self._questions: set[Hearing] = set()
        self._replies: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, name: str, within_s: float | None = None
    ) -> "AsyncIterator[Bus]":
        """Raises NotConnected, after ``within_s`` at the latest (None: as ``dial`` has it)."""
        bus = cls(url, name)
        bus._client = await dial(url, name, bus._reconnected, bus._refused, within_s)
        looking = asyncio.create_task(bus._look())
        try:
            yield bus
        finally:
            tasks = [looking, *bus._replies]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await hang_up(bus._client)

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected

    def _is_reached(self) -> bool:
        return self.is_connected and self._client._pings_outstanding < DEAF_PINGS

    async def _look(self) -> None:
        while True:
            self.ear.look()
            await asyncio.sleep(LOOK_S)

    @property
    def identity(self) -> str:
        """As whom it is known, as two tokens of a subject: the holder, or what its name says."""
        return str(self.holder) if self.holder else ".".join(self.name.split(":", 1))

    @property
    def makes_buckets(self) -> bool:
        """Whether state that is missing is ours to make: where the server is of a home, that is
        done by its doorkeeper.
        """
        return self.holder is None or self.holder.role == "doorkeeper"

    @property
    def jetstream(self) -> JetStreamContext:
        return self._client.jetstream(timeout=STATE_S)

    def _reconnected(self) -> None:
        for hook in self.on_reconnect:
            hook()

    def _refused(self) -> None:
        for hook in self.on_refusal:
            hook()

    async def quiet(self) -> None:
        """Hear no more questions, and return when those that were heard are answered.

        One that takes longer than QUIET_S is given up: its asker hears nothing.
        """
        for hearing in tuple(self._questions):
            await hearing.stop()
        await settled(self._client)
        if self._replies:
            await asyncio.wait(self._replies, timeout=QUIET_S)
        await settled(self._client)

    async def settled(self) -> None:
        """Return when the server has seen everything said so far.

        Twice, because nats-py 2.16 writes the first PING ahead of what is still
        pending.
        """
        # A connection that was closed for good has nothing more to settle.
        with contextlib.suppress(nats.errors.ConnectionClosedError):
            await self._client.flush()
            await self._client.flush()

    async def publish(self, subject: Subject[M], message: M, *tokens: str) -> None:
        """Say something once, to whoever listens now. Lost while the bus is away."""
        try:
            await self._client.publish(subject.at(*tokens), subject.encode(message))
        except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError):
            log.debug("bus: not connected, dropped a message for %s", subject.pattern)

    async def listen(
        self, subject: Subject[M], heard: Callable[[M], None], *tokens: str
    ) -> Hearing:
        """Call ``heard`` with every message; with no tokens given, from everybody."""
        return await self._subscribe(subject, heard, tokens)

    @asynccontextmanager
    async def listening(
        self, subject: Subject[M], heard: Callable[[M], None], *tokens: str
    ) -> AsyncIterator[None]:
        """``listen`` for as long as the block lasts. Nothing said after it began is missed."""
        hearing = await self._subscribe(subject, heard, tokens)
        await self.settled()
        try:
            yield
        finally:
            await hearing.stop()

    async def _subscribe(
        self, subject: Subject[M], heard: Callable[[M], None], tokens: tuple[str, ...]
    ) -> Hearing:
        async def receive(mail: Msg) -> None:
            message = self._open(subject, mail)
            if message is not None:
                heard(message)

        address = subject.at(*tokens) if tokens else subject.pattern
        return Hearing(await self._client.subscribe(address, cb=receive))

    async def ask(
        self, question: Question[M, A], message: M, *tokens: str, timeout_s: float = ANSWER_S
    ) -> A:
        """The answer to a question.

        Raises MeshError when it is refused, NobodyThere, NoAnswer, Garbled, TooLarge or
        NotConnected when it never got that far.
        """
        left_s = await self._connected(timeout_s)
        headers = {PATIENCE: f"{left_s:.3f}"}
        context = tracing.current.get()
        if context is not None:
            headers[tracing.HEADER] = context.header
        try:
            mail = await uncaught(
                self._client.request(
                    question.at(*tokens),
                    question.encode(message),
                    timeout=left_s,
                    headers=headers,
                )
            )
        except nats.errors.NoRespondersError as error:
            raise NobodyThere(question.pattern) from error
        except nats.errors.TimeoutError as error:
            raise NoAnswer(f"{question.pattern} after {timeout_s:g} s") from error
        except nats.errors.MaxPayloadError as error:
            raise TooLarge(f"more than {self._client.max_payload} bytes") from error
        except (nats.errors.Error, OSError) as error:
            raise NotConnected(str(error) or type(error).__name__) from error
        try:
            answer = question.decode_answer(mail.data)
        except msgspec.DecodeError as error:
            self.unread.message(f"the answer to {question.pattern}", error)
            raise Garbled(f"{question.pattern}: {error}; run one version everywhere") from error
        if isinstance(answer, Refused):
            raise answer.error()
        return answer

    async def _connected(self, within_s: float) -> float:
        """What is left of the time once the connection is up. Raises NotConnected.

        A question is never said into one that is down: nats-py would send it when it is up again,
        however long nobody has waited then.
        """
        end = time.monotonic() + within_s
        while not self.is_connected:
            if self._client.is_closed or time.monotonic() >= end:
                raise NotConnected("the bus server cannot be reached")
            await asyncio.sleep(DOWN_S)
        return max(end - time.monotonic(), DOWN_S)

    async def answer(
        self,
        question: Question[M, A],
        reply: Callable[[M], Awaitable[A]],
        *tokens: str,
        group: str = "",
    ) -> Hearing:
        """Answer a question with what ``reply`` returns, or with the MeshError it raises.

        Questions are answered side by side. Within a ``group`` each is answered
        by one member only.
        """

        async def receive(mail: Msg) -> None:
            task = asyncio.create_task(self._reply(question, reply, mail))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

        address = question.at(*tokens) if tokens else question.pattern
        subscription = await self._client.subscribe(address, queue=group, cb=receive)
        hearing = Hearing(subscription, self._questions.discard)
        self._questions.add(hearing)
        return hearing

    async def _reply(
        self, question: Question[M, A], reply: Callable[[M], Awaitable[A]], mail: Msg
    ) -> None:
        headers = mail.headers or {}
        if self.ear.stood_s > patience_s(headers):
            return
        tracing.begin(headers.get(tracing.HEADER))
        try:
            message = _proven(question, mail)
            with tracing.span(question.pattern.rpartition(".")[2]):
                answer: A | Refused = await reply(message)
        except msgspec.DecodeError as error:
            self.unread.message(mail.subject, error)
            answer = Refused(code=Code.INVALID_REQUEST.word, message=f"malformed message: {error}")
        except MeshError as error:
            answer = error.refusal()
        except Exception as error:
            log.exception("bus: answering %s failed", question.pattern)
            answer = Refused(
                code=Code.INTERNAL.word,
                message=f"{type(error).__name__} in {self.name}; its log has the details",
            )
        # An answer goes where answers are awaited: else whoever asks could have us say anything.
        if mail.reply.startswith("_INBOX."):
            await self._client.publish(mail.reply, question.encode_answer(answer))

    def _open(self, subject: Subject[M], mail: Msg) -> M | None:
        try:
            message = subject.decode(mail.data)
        except msgspec.DecodeError as error:
            self.unread.message(mail.subject, error)
            return None
        if not subject.is_proven(mail.subject, message):
            self.unread.message(mail.subject, "it says that it is another's")
            return None
        return message

    async def listen_raw(self, address: str, heard: Callable[[str, bytes], None]) -> None:
        """Hear the bytes said at an address that may hold wildcards, as telemetry readers do."""

        async def receive(mail: Msg) -> None:
            heard(mail.subject, mail.data)

        await self._client.subscribe(address, cb=receive)


def _proven(question: Question[M, A], mail: Msg) -> M:
    """Raises msgspec.DecodeError and MeshError."""
    message = question.decode(mail.data)
    if not question.is_proven(mail.subject, message):
        raise MeshError(Code.FORBIDDEN, "This was asked in somebody else's name.")
    return message
