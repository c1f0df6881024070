"""What compiles in a thread leaves the streams of others as they are."""

import subprocess
import sys

import pytest

_CODE = """
import sys
import colorama

def taken():
    sys.exit("colorama takes the streams")

colorama.init = colorama.reinit = colorama.deinit = taken
from polystep_snn.engine.loops import jit
from numba.core.errors import TypingError

@jit.loop
def wrong(x):
    return x.nothing

try:
    wrong(1)
except TypingError:
    sys.exit(0)
sys.exit("it compiles")
"""


def test_errors_of_the_compiler_take_no_streams():
    pytest.importorskip("colorama")
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
