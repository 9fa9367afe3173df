"""What an answer may consist of, settled before its request is admitted."""

from dataclasses import dataclass

from llguidance import LLTokenizer

from services.runner.engine.answer.channels import Channels, Plain
from services.runner.engine.answer.splitting import NORMAL, Machine
from services.runner.engine.calls.family import Reader
from services.runner.engine.constraints.guide import Guide, Rules
from services.runner.engine.loading import LoadedModel
from services.runner.engine.text import Pieces


@dataclass(frozen=True)
class Outline:
    machine: Machine | None = None
    """The markers to look for; None: all of the answer is content."""
    state: str = NORMAL
    """In which the answer begins."""
    reader: Reader | None = None
    """Of calls, where the model may make some."""
    is_parallel: bool = True
    is_formatted: bool = False
    rules: Rules | None = None
    """What is enforced; None: nothing."""
    tokenizer: LLTokenizer | None = None
    """That of the rules' grammars."""

    def answer(self, pieces: Pieces, before: int, stops: tuple[str, ...]) -> Plain | Channels:
        """``before`` is the prompt's last token."""
        if self.machine is None:
            return Plain(pieces, before, stops)
        return Channels(
            pieces,
            before,
            stops,
            self.machine,
            self.state,
            self.reader,
            is_parallel=self.is_parallel,
            is_formatted=self.is_formatted,
        )

    def guide(self, model: LoadedModel, before: int) -> Guide | None:
        if self.rules is None:
            return None
        ends = model.tokenizer.eos_token_ids
        return Guide(self.rules, self.tokenizer, model.pieces, before, ends, model.mask_width)


PLAIN = Outline()
