"""Addresses of databases and servers, as they may be shown.

Knows nothing of what is there.
"""

import re


def redacted(address: str) -> str:
    """Return an address without its password.

    >>> redacted("postgresql://me:secret@host/db"), redacted("sqlite:///mlruns/store.db")
    ('postgresql://me:***@host/db', 'sqlite:///mlruns/store.db')
    """
    # Up to the last @: a password may hold one, and hiding too much is the safe side.
    return re.sub(r"(:(?://)?[^/:@\s]*):.*@", r"\1:***@", address)
