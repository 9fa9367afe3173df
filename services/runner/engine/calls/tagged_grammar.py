"""Grammars of calls whose arguments stand between tags, one by one."""

from collections.abc import Sequence

from proto.prompt import Tool
from services.runner.engine.calls.free_text import texts_until
from services.runner.engine.calls.lark import KEY, Rules, refusal
from services.runner.engine.calls.reading import Section, resumed
from services.runner.engine.calls.schema import Parameters, Schema
from services.runner.engine.calls.syntax import Syntax, Wanted
from services.runner.engine.calls.tagged import TaggedReader, Tags
from services.runner.engine.calls.values import are_text

ANY_TEXT: tuple[Schema, ...] = ({},)


class TaggedGrammar:
    """The calls of one answer in one family's tags."""

    def __init__(self, tags: Tags, rules: Rules, wanted: Wanted) -> None:
        self.tags = tags
        self.rules = rules
        self._wanted = wanted
        self._gap = rules.maybe(tags.gap)

    def calls(self) -> str:
        """The rule of one section, or of as many calls as are wanted."""
        rules, wanted = self.rules, self._wanted
        call = rules.any_of(map(self._call, wanted.tools))
        if wanted.parallel and self.tags.holds_many:
            call = rules.many(call, self._gap)
        start, end = rules.text(wanted.start), rules.text(wanted.end)
        section = rules.rule(start, self._gap, call, self._gap, end)
        if wanted.parallel and not self.tags.holds_many:
            return rules.many(section, self._gap)
        return section

    def _call(self, tool: Tool) -> str:
        parameters = Parameters(tool)
        arguments = [
            f"({self.argument(tool, parameters, name)} {self._gap})"
            + ("" if name in parameters.required else "?")
            for name in parameters.names
        ]
        others = [f"({self.other(tool)} {self._gap})*"] if parameters.are_open else []
        end = self.rules.text(self.tags.call_end)
        return self.rules.rule(self.head(tool), self._gap, *arguments, *others, end)

    def head(self, tool: Tool) -> str:
        """A call up to its first argument."""
        written = self.tags.call_form.replace("{}", tool.name)
        head = written.removeprefix(self.tags.call)
        head = head.partition(self.tags.call_head_end or self.tags.argument)[0]
        self.check(tool, tool.name, self.tags.name(head))
        return self.rules.text(written)

    def argument(self, tool: Tool, parameters: Parameters, name: str) -> str:
        written = self.tags.argument_form.replace("{}", name)
        head = written.removeprefix(self.tags.argument).partition(self.tags.argument_head_end)[0]
        self.check(tool, name, self.tags.key(head))
        types = parameters.types(name)
        if are_text(types) or not types:
            schemas = parameters.alternatives(parameters.schemas.get(name)) if types else ANY_TEXT
            return self.rules.rule(self.rules.text(written), self.text(tool, schemas))
        value = self.rules.json(tool, parameters.schema(name))
        end = self.rules.text(self.tags.argument_end)
        return self.rules.rule(self.rules.text(written), self._gap, value, self._gap, end)

    def other(self, tool: Tool) -> str:
        """An argument that no schema names."""
        before, after = map(self.rules.text, self.tags.argument_form.split("{}"))
        return self.rules.rule(before, KEY, after, self.text(tool, ANY_TEXT))

    def text(self, tool: Tool, schemas: Sequence[Schema]) -> str:
        """A string, and the end of its argument."""
        tags = self.tags
        return texts_until(
            self.rules,
            tool,
            schemas,
            tags.argument_end,
            gap=tags.gap,
            taboo=[tags.call_end, self._wanted.end],
            is_verbatim=tags.is_verbatim,
        )

    def check(self, tool: Tool, name: str, read: str) -> None:
        """A name that would be read as another one cannot be called."""
        if read != name:
            raise refusal(tool, f"the name {name!r} has no form in this model's syntax")


def tagged_syntax(tags: Tags) -> Syntax:
    """The syntax of a family that its tags describe wholly."""

    def section(tools: Sequence[Tool]) -> Section:
        read = TaggedReader(tags, tools).read
        return resumed(read) if tags.call else read

    return Syntax(
        section=section,
        grammar=lambda rules, wanted: TaggedGrammar(tags, rules, wanted).calls(),
    )
