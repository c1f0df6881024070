"""Train spiking networks forward-only, and run them, learning included, on Loihi 2.

The names below are imported when they are first used, so that ``import polystep_snn`` is cheap and ``polystep_snn.hardware`` and
``polystep_snn.datasets`` work where torch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polystep_snn.errors import InputError as InputError
    from polystep_snn.geometry import Conv as Conv
    from polystep_snn.geometry import Delayed as Delayed
    from polystep_snn.geometry import Recurrent as Recurrent
    from polystep_snn.geometry import SumPool as SumPool
    from polystep_snn.modules.attention import MultiheadAttention as MultiheadAttention
    from polystep_snn.modules.lstm import LSTM as LSTM
    from polystep_snn.polystep.ask_tell import PolyStepES as PolyStepES
    from polystep_snn.polystep.ask_tell import minimize as minimize
    from polystep_snn.polystep.cost import CrossEntropy as CrossEntropy
    from polystep_snn.polystep.cost import RateTarget as RateTarget
    from polystep_snn.polystep.cost import SmoothedCrossEntropy as SmoothedCrossEntropy
    from polystep_snn.polystep.cost import ZeroOne as ZeroOne
    from polystep_snn.polystep.schedule import Schedule as Schedule
    from polystep_snn.polystep.transport import Greedy as Greedy
    from polystep_snn.polystep.transport import Sinkhorn as Sinkhorn
    from polystep_snn.polystep.transport import Softmax as Softmax
    from polystep_snn.snn.encoders import DirectCurrent as DirectCurrent
    from polystep_snn.snn.encoders import Latency as Latency
    from polystep_snn.snn.encoders import Poisson as Poisson
    from polystep_snn.snn.encoders import Population as Population
    from polystep_snn.snn.encoders import Rate as Rate
    from polystep_snn.snn.encoders import Rows as Rows
    from polystep_snn.snn.frames import EventFrames as EventFrames
    from polystep_snn.snn.from_nir import from_nir as from_nir
    from polystep_snn.snn.from_norse import from_norse as from_norse
    from polystep_snn.snn.loihi import CubaParameters as CubaParameters
    from polystep_snn.snn.network import SpikingNetwork as SpikingNetwork
    from polystep_snn.snn.neurons import LIF as LIF
    from polystep_snn.snn.neurons import LIFParameters as LIFParameters
    from polystep_snn.snn.readouts import MembraneReadout as MembraneReadout
    from polystep_snn.snn.readouts import SpikeCountReadout as SpikeCountReadout
    from polystep_snn.spaces.choose import PolyStep as PolyStep
    from polystep_snn.spaces.hybrid import HybridStep as HybridStep
    from polystep_snn.spaces.layer.space import LayerSpace as LayerSpace
    from polystep_snn.spaces.layer.step import LayerStep as LayerStep
    from polystep_snn.spaces.node.space import NodeSpace as NodeSpace
    from polystep_snn.spaces.node.step import NodeStep as NodeStep
    from polystep_snn.spaces.weight.space import WeightSpace as WeightSpace
    from polystep_snn.spaces.weight.step import WeightStep as WeightStep
    from polystep_snn.trained_networks import pretrained as pretrained
    from polystep_snn.trained_networks import pretrained_names as pretrained_names
    from polystep_snn.training.config import TrainConfig as TrainConfig
    from polystep_snn.training.trainer import Trainer as Trainer

__version__ = "0.2.0"

_HOME = {
    "errors": ("InputError",),
    "geometry": ("Conv", "Delayed", "Recurrent", "SumPool"),
    "modules.attention": ("MultiheadAttention",),
    "modules.lstm": ("LSTM",),
    "polystep.ask_tell": ("PolyStepES", "minimize"),
    "polystep.cost": ("CrossEntropy", "RateTarget", "SmoothedCrossEntropy", "ZeroOne"),
    "spaces.weight.space": ("WeightSpace",),
    "polystep.schedule": ("Schedule",),
    "spaces.layer.space": ("LayerSpace",),
    "spaces.layer.step": ("LayerStep",),
    "spaces.node.space": ("NodeSpace",),
    "spaces.node.step": ("NodeStep",),
    "spaces.choose": ("PolyStep",),
    "spaces.hybrid": ("HybridStep",),
    "polystep.transport": ("Greedy", "Sinkhorn", "Softmax"),
    "spaces.weight.step": ("WeightStep",),
    "snn.encoders": ("DirectCurrent", "Latency", "Poisson", "Population", "Rate", "Rows"),
    "snn.frames": ("EventFrames",),
    "snn.from_nir": ("from_nir",),
    "snn.from_norse": ("from_norse",),
    "snn.loihi": ("CubaParameters",),
    "snn.network": ("SpikingNetwork",),
    "snn.neurons": ("LIF", "LIFParameters"),
    "snn.readouts": ("MembraneReadout", "SpikeCountReadout"),
    "trained_networks": ("pretrained", "pretrained_names"),
    "training.config": ("TrainConfig",),
    "training.trainer": ("Trainer",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'polystep_snn' has no attribute {name!r}")
    return getattr(import_module(f"polystep_snn.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
