"""Integer networks on Lava, which runs on Python 3.10 alone: ``client.py`` for any Python, ``worker.py`` in an environment of its own.

::

    client.py ──> worker_process.py ──(protocol.py on a socket)──> worker.py ──> graph.py ──> processes/, convolution/, Lava's own models
    the numbers   one OS process,                                 Python 3.10   build, run,
                  its errors, its end (process_group.py)          lifeline.py   collect
"""
