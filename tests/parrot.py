"""A model folder whose answers are written by the test: see ``parrot_model``.

What a user's or a tool's turn holds is what the model says next. Markers such
as ``<think>`` would be read as markers in a prompt already: ``script`` writes
stand-ins for them, which the model says as the markers themselves.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests import tiny

SAY, SAID, ANSWER = "<|say|>", "<|said|>", "<|answer|>"
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\nTools:' }}"
    "{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role in ['user', 'tool'] %}"
    "{{ '<|say|>' + message.content + '<|said|>' }}"
    "{% else %}"
    "{% if message.reasoning_content %}"
    "{{ '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}{% endif %}"
    "{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}{% set tool_call = call.function %}"
    '{{ \'<tool_call>\n{"name": "\' + tool_call.name + \'", "arguments": \' }}'
    "{{ tool_call.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}"
    "{% endif %}"
    "{% if not (loop.last and continue_final_message) %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ '<|answer|>' }}{% endif %}"
)


def script(text: str, markers: tuple[str, ...] = MARKERS) -> str:
    """What to put into a turn so that the model says ``text``."""
    for place, marker in enumerate(markers):
        text = text.replace(marker, _stand_in(place))
    return text


def make_parrot(
    folder: Path,
    template: str = TEMPLATE,
    markers: tuple[str, ...] = MARKERS,
    context_length: int = 8192,
) -> Path:
    """Writes the model into ``folder``. ``markers`` are its special tokens.

    The template has to write ``<|say|>`` and ``<|said|>`` around what is to be
    said, and ``<|answer|>`` as the prompt's last token.
    """
    tiny.make_tiny(folder, context_length=context_length)
    added = [SAY, SAID, ANSWER, *markers, *(_stand_in(place) for place in range(len(markers)))]
    ids = {token: tiny.VOCAB + place for place, token in enumerate(added)}
    spoken = np.arange(tiny.VOCAB + len(added), dtype=np.float32)
    for place, marker in enumerate(markers):
        spoken[ids[_stand_in(place)]] = ids[marker]
    save_file({"spoken": spoken}, folder / "model.safetensors", metadata={"format": "mlx"})
    shutil.copy(Path(__file__).with_name("parrot_model.py"), folder)
    _change(
        folder / "config.json",
        model_type="parrot",
        model_file="parrot_model.py",
        vocab_size=len(spoken),
        say=ids[SAY],
        said=ids[SAID],
        answer=ids[ANSWER],
        end=tiny.END_OF_TURN,
    )
    _change(folder / "tokenizer_config.json", chat_template=template)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    like = tokenizer["added_tokens"][0]
    more = [like | {"id": id, "content": token} for token, id in ids.items()]
    _change(folder / "tokenizer.json", added_tokens=tokenizer["added_tokens"] + more)
    return folder


def _stand_in(place: int) -> str:
    return f"<|{place}|>"


def _change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content, ensure_ascii=False))


if __name__ == "__main__":
    print(make_parrot(Path(sys.argv[1])))
