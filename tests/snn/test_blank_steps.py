"""Steps without input behind a batch's own."""

import pytest
import torch

from polystep_snn.snn.frames import Constant, EventFrames, Frames, with_blank_steps
from tests.snn.test_frames import events_of

X = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0)).round()


@pytest.mark.parametrize("frames", [Frames(list(X), 4), events_of(X), Constant(X[0], 4)], ids=["frames", "events", "constant"])
def test_what_follows_is_blank(frames):
    before = list(frames)
    longer = with_blank_steps(frames, 3)
    found = list(longer)
    assert len(longer) == len(found) == 7
    assert all(map(torch.equal, found[:4], before))
    assert all(torch.equal(frame, torch.zeros(2, 3)) for frame in found[4:])
    assert isinstance(longer, EventFrames) == isinstance(frames, EventFrames)
    assert with_blank_steps(frames, 0) is frames
