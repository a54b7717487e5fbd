"""The snippet of the README does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict

from real import RealServer
from waiting import PATIENCE


def test_the_snippet_runs(serve: Callable[..., RealServer]) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    server = serve()
    names: Dict[str, Any] = {}
    exec(snippet.replace("http://localhost:8080", server.url), names)
    assert names["client"].close(PATIENCE)
    assert (names["client"].stats().accepted, names["client"].stats().dropped) == (3, {})
