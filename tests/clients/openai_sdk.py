"""The tests that OpenAI's Python package brings for its own API, fetched and run as they are.

They are part of its source distribution only. Pip fetches that of the installed version, from
wherever pip is told to look; it is kept in pytest's cache.
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Collection
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.mesh.house import ROOT, Mesh, environment

FILES: dict[str, tuple[str, ...]] = {
    "chat/test_completions.py": (),
    "test_completions.py": (),
    "test_embeddings.py": (),
    "test_models.py": (),
    "test_responses.py": ("stored_responses",),
    "responses/test_input_items.py": ("stored_responses",),
    "responses/test_input_tokens.py": ("stored_responses",),
}
"""Those of the endpoints that there are, below ``tests/api_resources``, and for each the plugins
of the folder ``plugins`` that prepare the mesh for its tests."""
EXCEPTIONS = Path(__file__).with_name("openai_sdk_exceptions.json")
PLUGINS = Path(__file__).with_name("plugins")
_SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""The first releases of Python 3.11 know no filters."""
FETCH_S = 180
RUN_S = 280


def exceptions() -> dict[str, str]:
    """Pattern of ``file::Class::test[params]`` to the reason why those tests cannot pass."""
    table: dict[str, str] = json.loads(EXCEPTIONS.read_text())
    return table


def reason_for(test: str) -> str | None:
    matching = (why for pattern, why in exceptions().items() if fnmatchcase(test, pattern))
    return next(matching, None)


def idle(file: str, tests: Collection[str]) -> list[str]:
    """Exceptions of a file for tests that it does not have."""
    return [
        pattern
        for pattern in exceptions()
        if pattern.startswith(f"{file}::") and not any(fnmatchcase(t, pattern) for t in tests)
    ]


def fetched(cache: Path) -> Path:
    """The folder of the unpacked source distribution."""
    name = f"openai-{version('openai')}"
    folder = cache / name
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _download(Path(scratch))
            with tarfile.open(Path(scratch) / f"{name}.tar.gz") as archive:
                archive.extractall(scratch, **_SAFELY)
            (Path(scratch) / name).rename(folder)
    return folder


def _download(into: Path) -> None:
    """Pip builds the metadata on the way, which takes a backend that it fetches, too."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-binary", "openai", "--dest", str(into),
            f"openai=={version('openai')}",
        ],
        capture_output=True,
        text=True,
        timeout=FETCH_S,
    )  # fmt: skip
    assert done.returncode == 0, f"pip could not fetch openai's tests:\n{done.stderr}"


def outcomes(sdk: Path, file: str, mesh: Mesh, scratch: Path) -> dict[str, str]:
    """What became of each test of a file: ``file::Class::test[params]`` to "" or its complaint."""
    told = {
        "TEST_API_BASE_URL": f"{mesh.url}/v1",
        "ODYSSAI_NATS": mesh.access.url("gateway"),
        "PYTHONPATH": os.pathsep.join(map(str, (PLUGINS, ROOT))),
    }
    plugins = [flag for plugin in FILES[file] for flag in ("-p", plugin)]
    report = scratch / "report.xml"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", f"tests/api_resources/{file}", "-q", "--tb=line",
            "-o", "addopts=", "-p", "no:cacheprovider", f"--junitxml={report}", "--timeout=60",
            *plugins,
        ],
        cwd=sdk,
        env=environment(told),
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    cases = ET.parse(report).iter("testcase")
    return {f"{file}::{_class(case)}::{case.attrib['name']}": _complaint(case) for case in cases}


def _class(case: ET.Element) -> str:
    return case.attrib["classname"].rpartition(".")[2]


def _complaint(case: ET.Element) -> str:
    """A test that is left out has shown nothing, which is no better than a failure."""
    return "; ".join(
        child.attrib.get("message", child.tag)
        for child in case
        if child.tag in ("failure", "error", "skipped")
    )
