"""Makes vectors.json: distances of samples and histograms as SciPy has them.

    python3 -m venv v && v/bin/pip install scipy==1.17.1 && v/bin/python regenerate.py > vectors.json
"""

import json
import random
import sys

import scipy
from scipy import stats
from scipy.spatial.distance import jensenshannon

VERSION = "1.17.1"


def sample(seed, mean, deviation, n, digits=3):
    rng = random.Random(seed)
    return [round(rng.gauss(mean, deviation), digits) for _ in range(n)]


PAIRS = [
    (sample(1, 0, 1, 30), sample(2, 0, 1, 30)),
    (sample(3, 0, 1, 30), sample(4, 1.5, 1, 30)),
    (sample(5, 0, 1, 20), sample(6, 0.5, 1, 33)),
    (sample(7, 0, 1, 50, 0), sample(8, 0, 2, 70, 0)),
    (sample(9, 5, 0.1, 7), sample(10, 5, 0.1, 150)),
    (sample(11, 0, 1, 40), sample(12, 4, 1, 60)),
]
HISTOGRAMS = [
    ([10, 20, 30, 40], [12, 18, 33, 37]),
    ([100, 200, 300, 400], [250, 250, 250, 250]),
    ([5, 0, 9, 3, 1], [2, 0, 7, 0, 4]),
    ([1000, 900, 800, 700, 10], [11, 9, 8, 7, 3]),
]


def main():
    if scipy.__version__ != VERSION:
        sys.exit(f"the vectors are those of SciPy {VERSION}, not {scipy.__version__}")
    samples, histograms = [], []
    for a, b in PAIRS:
        ks = stats.ks_2samp(a, b, method="exact")
        samples.append({"a": a, "b": b, "ks": ks.statistic, "ks_p": ks.pvalue, "wasserstein": stats.wasserstein_distance(a, b)})
    for a, b in HISTOGRAMS:
        used = [(x, y) for x, y in zip(a, b) if x + y]
        chi = stats.chi2_contingency(list(zip(*used)), correction=False)
        places = list(range(len(a)))
        histograms.append({
            "a": a, "b": b, "chi_square": chi.statistic, "chi_square_p": chi.pvalue,
            "jensen_shannon": jensenshannon(a, b, base=2),
            "wasserstein": stats.wasserstein_distance(places, places, a, b),
        })
    tails = [{"x": x, "freedom": k, "p": stats.chi2.sf(x, k)} for k in (1, 2, 9, 50, 300) for x in (0.01, 1, k, 2 * k + 10)]
    print(json.dumps({
        "provenance": f"SciPy {VERSION} (PyPI), made by regenerate.py",
        "samples": samples, "histograms": histograms, "chi_square_tails": tails,
    }, indent=None, separators=(",", ":")).replace('{"a"', '\n{"a"').replace('{"x"', '\n{"x"'))


main()
