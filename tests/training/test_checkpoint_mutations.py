"""Changed checkpoints are refused where they are read, or good for all that follows."""

from tests.training.checkpoint_mutations import try_some


def test_mutations(tmp_path):
    found = try_some(tmp_path / "run", 150, seed=1)
    assert sum(found.values()) == 150
    assert found["refused to open, refused to resume"] > 30
    assert found["opened, refused to resume"] > 30, "what only resuming needs is not needed to open"
