"""Whether this container's service is alive, for `HEALTHCHECK`: exit code 0 or 1. The standard library only.

Where clients must show a certificate, that the port is answered is all that can be seen from here.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

SECONDS = 2


def alive(environ: Mapping[str, str]) -> bool:
    """Ask `/livez` on the port that the service was told to listen on."""
    port = int(environ.get("PORT") or environ.get("BENTOML_PORT") or 3000)
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    if environ.get("BENTOCAST_TLS_CERT"):
        asked = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=_unverified())
    refused = bool(environ.get("BENTOCAST_TLS_CLIENT_CA"))  # for want of a certificate, by whoever is alive
    try:
        asked.request("GET", "/livez")
        return asked.getresponse().status == http.client.OK
    except (ssl.SSLError, ConnectionResetError):
        return refused
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def _unverified() -> ssl.SSLContext:
    """We ask ourselves: whether the certificate is ours is not the question, and it need not name 127.0.0.1."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


if __name__ == "__main__":
    sys.exit(not alive(os.environ))
