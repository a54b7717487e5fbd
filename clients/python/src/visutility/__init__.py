"""Sends what is measured of models in production to VisuTility.

    import visutility

    client = visutility.Client("http://localhost:8080")
    client.log("fraud", accuracy=0.91, count=500, version="7")

A :class:`Client` is made once for a process and is used from any thread. Its ``log`` methods
put the event into a bounded queue and return: they never wait for the network and
never raise for what they are given. A background thread sends batches, again where that is
needed, such that the server counts each event once. Whatever is not delivered is counted in
:meth:`Client.stats`, by reason, and logged once for each reason by the logger ``visutility``.
"""

from .client import Client
from .stats import Stats
from .version import __version__

__all__ = ["Client", "Stats", "__version__"]
