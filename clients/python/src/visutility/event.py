"""Events: what is logged, held against the server's rules and written as JSON.

It happens in two steps. In the caller's thread a value is only *taken*: made into a plain number or string
that nobody can change any more, for an array or tensor may be different by the time it is sent. All the
rest is done by the background thread, when it *encodes* the event.
"""

from __future__ import annotations

import json
import math
import operator
import unicodedata
from datetime import datetime
from functools import lru_cache
from typing import Any, Callable, Dict, Mapping, Tuple, Union

Scalar = Union[str, bool, int, float]
PLAIN = frozenset((str, bool, int, float, type(None)))  # what nobody can change, looked up faster than asked for

NAME_BYTES = 256  # of a model, metric, version, id, label
MAX_LABELS = 16
MAX_FEATURES = 256
FEATURE_BYTES = 200  # of a feature's name
MAX_NUMBER = 1e100  # of a prediction, label or feature
MAX_COUNT = 2**63 - 1
MILLIS_FROM = 1e11  # the server takes numbers from here on for milliseconds
BIDI_CONTROL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Fault(ValueError):
    """Why an event is dropped: a word to count under, and words to read, which repeat no value: it may be private."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def take_number(value: Any, field: str) -> float:
    """A number as float now: int, Decimal, a scalar or tensor of NumPy, PyTorch …, but no text."""
    if isinstance(value, (str, bytes, bytearray)):
        raise Fault("invalid", f"{field} is a {type(value).__name__}; log a number")
    try:
        return float(value)
    except Exception as e:  # whatever the type's own conversion raises
        raise Fault("invalid", f"{field} is a {type(value).__name__} that makes no number: {type(e).__name__}") from None


def take_scalar(value: Any, field: str) -> Scalar | None:
    """A string, truth value or number as such now; None stays None."""
    if type(value) in PLAIN:
        return value  # type: ignore[no-any-return]
    item = getattr(value, "item", None)  # of NumPy, PyTorch …: the Python value
    if callable(item):
        try:
            value = item()
        except Exception as e:
            raise Fault("invalid", f"{field} is a {type(value).__name__} that is not a single value: {type(e).__name__}") from None
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return take_number(value, field)


def take_mapping(value: Mapping[str, Any] | None, field: str) -> Dict[Any, Any] | None:
    """A copy of labels or features now."""
    if value is None:
        return None
    if type(value) is not dict and not isinstance(value, Mapping):
        raise Fault("invalid", f"{field} is a {type(value).__name__}; log a dict")
    return {k: v if type(v) in PLAIN else take_scalar(v, field) for k, v in value.items()}


def encode_metric(model: Any, metric: Any, value: float, count: Any, version: Any, time: Any, labels: Dict[Any, Any] | None) -> bytes:
    """An event of POST /api/v1/metrics."""
    event: Dict[str, Any] = {
        "model": _model(model),
        "metric": _name(metric, "the metric's name"),
        "value": _finite(value, "the value"),
        "time": _seconds(time),
    }
    if count is not None:
        event["count"] = _count(count)
    if version is not None:
        event["version"] = _text(version, "version")
    if labels:
        event["labels"] = _labels(labels)
    return _json(event)


def encode_prediction(
    model: Any, id: Any, prediction: Scalar | None, score: float | None, features: Dict[Any, Any] | None, version: Any, labels: Dict[Any, Any] | None, time: Any
) -> bytes:
    """An event of POST /api/v1/predictions. Features that are None, NaN or "" are missing values: they are left out."""
    event: Dict[str, Any] = {"model": _model(model), "id": _name(id, "id"), "time": _seconds(time)}
    if prediction is None and score is None:
        raise Fault("invalid", "a prediction has neither prediction nor score")
    if prediction is not None:
        event["prediction"] = _outcome(prediction, "prediction")
    if score is not None:
        event["score"] = _probability(score)
    if features is not None:
        event["features"] = _features(features)
    if version is not None:
        event["version"] = _text(version, "version")
    if labels:
        event["labels"] = _labels(labels)
    return _json(event)


def encode_label(model: Any, id: Any, label: Scalar | None, time: Any) -> bytes:
    """An event of POST /api/v1/labels."""
    if label is None:
        raise Fault("invalid", "a label is None; log it once it is known")
    return _json({"model": _model(model), "id": _name(id, "id"), "label": _outcome(label, "label"), "time": _seconds(time)})


Encoder = Callable[..., bytes]
Pending = Tuple[Encoder, Tuple[Any, ...]]
"""An event that waits: how it is encoded, and of what."""

ROUTES: Mapping[Encoder, str] = {
    encode_metric: "/api/v1/metrics",
    encode_prediction: "/api/v1/predictions",
    encode_label: "/api/v1/labels",
}


_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))  # json.dumps would make one for each event


def _json(event: Dict[str, Any]) -> bytes:
    return _encoder.encode(event).encode("ascii")


def _finite(value: float, field: str) -> float:
    if math.isfinite(value):
        return value
    raise Fault("nan" if math.isnan(value) else "inf", f"{field} is {value}")


def _probability(value: float) -> float:
    if not 0 <= _finite(value, "score") <= 1:
        raise Fault("invalid", "score is no probability from 0 to 1")
    return value


def _outcome(value: Scalar, field: str) -> Scalar:
    if isinstance(value, str):
        return _name(value, field)
    if isinstance(value, float):
        if abs(_finite(value, field)) > MAX_NUMBER:
            raise Fault("invalid", f"{field} is over {MAX_NUMBER}")
    elif not -(2**63) <= value < 2**63:
        raise Fault("invalid", f"{field} is over 64 bits")
    return value


def _features(features: Dict[Any, Any]) -> Dict[str, Scalar]:
    present = {_name(k, "a feature's name"): _outcome(v, "a feature") for k, v in features.items() if v is not None and v == v and v != ""}
    if len(present) > MAX_FEATURES:
        raise Fault("invalid", f"{len(present)} features are over {MAX_FEATURES}; log those worth watching")
    if any(len(k) > FEATURE_BYTES // 4 and len(k.encode("utf-8")) > FEATURE_BYTES for k in present):
        raise Fault("invalid", f"a feature's name is over {FEATURE_BYTES} bytes")
    return present


def _labels(labels: Dict[Any, Any]) -> Dict[str, str]:
    if len(labels) > MAX_LABELS:
        raise Fault("invalid", f"{len(labels)} labels are over {MAX_LABELS}")
    return {_name(k, "a label's name"): _text(v, "a label") for k, v in labels.items()}


def _model(value: Any) -> str:
    name = _name(value, "model")
    if name in (".", ".."):
        raise Fault("invalid", f"{name!r} cannot name a model")
    return name


def _name(value: Any, field: str) -> str:
    if value == "":
        raise Fault("invalid", f"{field} is empty")
    return _text(value, field)


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise Fault("invalid", f"{field} is a {type(value).__name__}; log a str")
    fault = _text_fault(value)
    if fault:
        raise Fault("invalid", f"{field} {fault}")
    return value


@lru_cache(maxsize=2048)
def _text_fault(s: str) -> str:
    """What is wrong with a text, "" for nothing. It remembers: names come again and again."""
    if len(s) <= NAME_BYTES and s.isascii() and s.isprintable():
        return ""
    try:
        size = len(s.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > NAME_BYTES:
        return f"has {size} bytes; {NAME_BYTES} are allowed"
    if any(unicodedata.category(c) == "Cc" or c in BIDI_CONTROL for c in s):
        return "contains a control character"
    return ""


def _count(value: Any) -> int:
    try:
        n = operator.index(value)
    except Exception:
        raise Fault("invalid", f"count is a {type(value).__name__}; log an int") from None
    if not 0 <= n <= MAX_COUNT:
        raise Fault("invalid", "count is below 0 or over 2^63-1")
    return n


def _seconds(value: Any) -> float:
    """A time as Unix seconds with milliseconds, which is what the server keeps."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise Fault("invalid", "time is a datetime without a time zone; use datetime.now(timezone.utc)")
        seconds = value.timestamp()
    else:
        seconds = take_number(value, "time")
    if not 0 <= seconds < MILLIS_FROM:
        raise Fault("invalid", "time is no date after 1970; log a datetime, or seconds (not milliseconds) since 1970")
    return round(seconds, 3)
