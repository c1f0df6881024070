"""How it is computed: compiled loops, matrix products, memory. Nothing here knows a method or a network."""

import os

# numba colours the errors that it catches itself while it compiles. For that, colorama takes sys.stdout and sys.stderr and puts them back
# later, which undoes what another thread redirects meanwhile. numba reads this when it is imported.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")
