"""The snippet of the README does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

from stub import Stub
from waiting import PATIENCE


def test_the_snippet_runs() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    with Stub() as stub:
        names: Dict[str, Any] = {}
        exec(snippet.replace("http://localhost:8080", stub.url), names)
        assert names["client"].close(PATIENCE)
        assert names["client"].stats().accepted == 3
    assert {r.path for r in stub.requests} == {"/api/v1/metrics", "/api/v1/predictions", "/api/v1/labels"}
