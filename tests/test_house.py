"""What the house promises: who knows whom, and what an import costs."""

import subprocess
import sys

import pytest

import polystep_snn


def imported(statement: str) -> set[str]:
    """Top-level modules that a statement loads in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.split())


def test_importing_the_package_is_cheap():
    assert not {"torch", "numpy", "matplotlib"} & imported("import polystep_snn")


@pytest.mark.parametrize("module", ["polystep_snn.hardware", "polystep_snn.datasets", "polystep_snn.datasets.mnist"])
def test_hardware_and_data_know_nothing_of_torch(module):
    assert "torch" not in imported(f"import {module}")


def test_the_command_line_loads_torch_only_to_run():
    assert not {"torch", "matplotlib"} & imported("from polystep_snn.cli.main import make_parser\nmake_parser()")


def test_the_configurations_choices_are_those_there_are():
    from polystep_snn.polystep.polytope import KINDS
    from polystep_snn.snn import encoders
    from polystep_snn.training import config

    assert tuple(encoders.ENCODERS) == config.ENCODERS
    assert KINDS == config.POLYTOPES


def test_networks_know_nothing_of_training():
    loaded = imported("import polystep_snn.snn.network, polystep_snn.snn.calibrate, polystep_snn.snn.from_norse")
    assert not {m for m in loaded if m.startswith(("polystep_snn.polystep", "polystep_snn.training"))}


def test_every_public_name_is_there():
    for name in polystep_snn.__all__:
        assert getattr(polystep_snn, name) is not None
    assert set(polystep_snn.__all__) <= set(dir(polystep_snn))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = polystep_snn.Nothing
