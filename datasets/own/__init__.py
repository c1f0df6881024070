"""Data of one's own: a file or a folder becomes a ``Dataset``.

    mine.npz, mine/*.npy            arrays x_train, y_train, x_test, y_test, x_val, y_val
    mine/[train|val|test/]CLASS/    a folder a class, of images, of wav files, or of event recordings

``describe`` tells what a path holds without reading the samples; ``load_own`` reads it. What a run must remember of its data, so that
every later command treats samples as training did, is a ``DataRecord``.
"""

from polystep_snn.datasets.own.describe import Description as Description
from polystep_snn.datasets.own.describe import describe as describe
from polystep_snn.datasets.own.from_python import from_arrays as from_arrays
from polystep_snn.datasets.own.from_python import from_samples as from_samples
from polystep_snn.datasets.own.load import load_own as load_own
from polystep_snn.datasets.own.record import DataRecord as DataRecord
