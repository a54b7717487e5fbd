"""Makes vectors.json: where River's detectors fire on streams made here.

    python3 -m venv v && v/bin/pip install river==0.26.1 && v/bin/python regenerate.py > vectors.json

The streams come from Python's random, seeded. Values are rounded, so that they
stand in the file exactly as the detectors took them. River starts a detector
afresh after each detection.
"""

import json
import platform
import random
import sys

import river
from river import drift

VERSION = "0.26.1"


def bits(seed, *segments):
    """0/1 values: (probability of 1, how many) after one another."""
    rng = random.Random(seed)
    return [int(rng.random() < p) for p, n in segments for _ in range(n)]


def normal(seed, *segments):
    """Normal values: (mean, deviation, how many) after one another."""
    rng = random.Random(seed)
    return [round(rng.gauss(m, s), 3) for m, s, n in segments for _ in range(n)]


def documented_numbers():
    """The stream of the documentation of ADWIN, PageHinkley and KSWIN."""
    rng = random.Random(12345)
    return rng.choices([0, 1], k=1000) + rng.choices(range(4, 8), k=1000)


def documented_bits():
    """The stream of the documentation of the detectors of errors."""
    rng = random.Random(42)
    return rng.choices([0, 1], k=1000) + rng.choices([0, 1], k=1000, weights=[0.3, 0.7])


STREAMS = {
    "documented_numbers": documented_numbers(),
    "documented_bits": documented_bits(),
    "errors_doubled": bits(1, (0.1, 2000), (0.2, 2000)),
    "errors_steps": bits(2, (0.3, 1000), (0.6, 1000), (0.2, 1000), (0.9, 1000)),
    "errors_rare": bits(3, (0.02, 2000), (0.2, 1000)),
    "errors_steady": bits(4, (0.2, 4000)),
    "normal_shift": normal(5, (0, 1, 1500), (1, 1, 1500)),
    "normal_steps": normal(6, (0, 0.5, 1000), (2, 0.5, 1000), (4, 0.5, 1000), (1, 0.5, 1000)),
    "normal_wide": normal(7, (0, 1, 1000), (0, 4, 1000)),
}

# The detector's name here, its parameters there, and how to make it.
DETECTORS = [
    ("adwin", {}, lambda: drift.ADWIN()),
    ("adwin", {"delta": 0.05, "clock": 1}, lambda: drift.ADWIN(delta=0.05, clock=1)),
    ("adwin", {"max_buckets": 3, "min_window": 10, "grace": 50},
     lambda: drift.ADWIN(max_buckets=3, min_window_length=10, grace_period=50)),
    ("page_hinkley", {}, lambda: drift.PageHinkley(mode="up")),
    ("page_hinkley", {"delta": 0.05, "threshold": 20, "alpha": 0.999},
     lambda: drift.PageHinkley(mode="up", delta=0.05, threshold=20, alpha=0.999)),
    # A statistics window of half the window leaves nothing to draw by chance.
    ("kswin", {"window": 60}, lambda: drift.KSWIN(window_size=60, seed=1)),
    ("kswin", {"window": 100, "stat": 50, "alpha": 0.0001},
     lambda: drift.KSWIN(window_size=100, stat_size=50, alpha=0.0001, seed=1)),
    ("ddm", {}, lambda: drift.binary.DDM()),
    ("ddm", {"drift": 2.5, "min_instances": 100}, lambda: drift.binary.DDM(drift_threshold=2.5, warm_start=100)),
    ("eddm", {}, lambda: drift.binary.EDDM()),
    ("eddm", {"beta": 0.75}, lambda: drift.binary.EDDM(alpha=0.8, beta=0.75)),
    ("hddm_a", {}, lambda: drift.binary.HDDMA()),
    ("hddm_a", {"delta": 0.05}, lambda: drift.binary.HDDMA(drift_confidence=0.05, warning_confidence=0.1)),
    ("hddm_w", {}, lambda: drift.binary.HDDMW()),
    ("hddm_w", {"delta": 0.02, "lambda": 0.1},
     lambda: drift.binary.HDDMW(drift_confidence=0.02, warning_confidence=0.1, lambda_val=0.1)),
]
BINARY = {"ddm", "eddm", "hddm_a", "hddm_w"}


def run(name, parameters, make, stream):
    detector, fired, windows = make(), [], []
    for i, x in enumerate(STREAMS[stream]):
        detector.update(x)
        if detector.drift_detected:
            fired.append(i)
        if name == "adwin" and i % 250 == 249:
            windows.append([i, detector.width, detector.total, detector.variance])
    vector = {"detector": name, "parameters": parameters, "stream": stream, "fired": fired}
    if windows:
        vector["windows"] = windows  # index, width, sum and variance
    return vector


def main():
    if river.__version__ != VERSION:
        sys.exit(f"the vectors are those of River {VERSION}, not {river.__version__}")
    vectors = [
        run(name, parameters, make, stream)
        for name, parameters, make in DETECTORS
        for stream, values in STREAMS.items()
        if name not in BINARY or set(values) <= {0, 1}
    ]
    provenance = f"River {VERSION} (PyPI), Python {platform.python_version()}, made by regenerate.py"
    # One line for each stream and vector keeps the file readable in diffs.
    lines = ['{"provenance": ' + json.dumps(provenance) + ',', '"streams": {']
    lines.append(",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in STREAMS.items()))
    lines += ["},", '"vectors": [', ",\n".join(json.dumps(v) for v in vectors), "]}"]
    print("\n".join(lines))


main()
