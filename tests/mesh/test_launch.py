"""`odyssai launch` finds the mesh that runs on a home, and its model."""

from tests.mesh.house import Command, Mesh


def test_a_coding_tool_is_pointed_at_the_mesh_of_the_home(mesh: Mesh) -> None:
    launch = Command("launch", "claude", "--home", str(mesh.home), "--print")
    try:
        lines = launch.said.wait_for("\nclaude\n", within_s=20).splitlines()
        assert launch.process.wait(10) == 0
    finally:
        launch.end()

    assert f"export ANTHROPIC_BASE_URL={mesh.url}" in lines
    assert "export ANTHROPIC_MODEL=roomy" in lines
    assert "export CLAUDE_CODE_MAX_CONTEXT_TOKENS=65536" in lines
