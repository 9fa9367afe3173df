"""The model that comes along, for real."""

from pathlib import Path

import anthropic
import openai

from tests.mesh.house import Mesh

QUESTION = {"role": "user", "content": "What is the capital of France?"}


def test_it_knows_the_capital_of_france(smollm2_home: Path) -> None:
    mesh = Mesh(smollm2_home, [])
    try:
        mesh.wait_until_it_serves(["SmolLM2-135M-Instruct", "smollm2"])
        assert "SmolLM2-135M-Instruct" in mesh.said.text
        with (
            openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0) as gpt,
            anthropic.Anthropic(base_url=mesh.url, api_key="none", max_retries=0) as claude,
        ):
            answer = gpt.chat.completions.create(
                model="smollm2",
                messages=[QUESTION],
                temperature=0,
                max_tokens=40,  # type: ignore[list-item]
            )
            message = claude.messages.create(
                model="SmolLM2-135M-Instruct", messages=[QUESTION], max_tokens=40,  # type: ignore[list-item]
                extra_body={"temperature": 0},
            )  # fmt: skip

        assert "Paris" in (answer.choices[0].message.content or "")
        assert answer.model == "smollm2"
        assert answer.choices[0].finish_reason == "stop"
        assert "Paris" in "".join(b.text for b in message.content if b.type == "text")
    finally:
        mesh.end()
