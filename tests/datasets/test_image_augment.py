"""Images that are moved and mirrored, beside ones that were moved by hand."""

import numpy as np
import pytest

from polystep_snn.datasets.image_augment import ImageAugmentation
from polystep_snn.errors import InputError

IMAGE = np.arange(1, 13, dtype=np.float32).reshape(3, 4)


def changed(augmentation, image, numbers, epoch=0):
    """``[B, ...]``: an image as each number sees it."""
    sources = augmentation.sources(np.asarray(numbers), image.shape, epoch)
    return np.append(image.ravel(), 0)[sources].reshape(-1, *image.shape)


def moved(image, down, right):
    """By hand: a row or column leaves, zeros come in."""
    wide = np.pad(image, 2)
    return wide[2 - down : 2 - down + image.shape[0], 2 - right : 2 - right + image.shape[1]]


def test_every_move_and_mirror_image_comes_equally_often():
    # Mirrored first, then moved.
    variants = [moved(flipped, y, x) for flipped in (IMAGE, IMAGE[:, ::-1]) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    found = changed(ImageAugmentation(shift=1, flip_lr=0.5, seed=3), IMAGE, range(9000))
    counts = np.array([(found == variant).all((1, 2)).sum() for variant in variants])
    assert counts.sum() == 9000
    # 500 each, with a standard deviation of 22.
    assert (abs(counts - 500) < 100).all()


def test_how_often_images_are_mirrored():
    found = changed(ImageAugmentation(flip_lr=0.2, seed=1), IMAGE, range(5000))
    mirrored = (found == IMAGE[:, ::-1]).all((1, 2))
    assert ((found == IMAGE).all((1, 2)) | mirrored).all()
    assert 0.17 < mirrored.mean() < 0.23
    assert (changed(ImageAugmentation(flip_lr=1.0), IMAGE, range(50)) == IMAGE[:, ::-1]).all()


def test_nothing_changes_by_default():
    assert not ImageAugmentation(seed=7).changes
    assert (changed(ImageAugmentation(), IMAGE, range(50)) == IMAGE).all()
    assert ImageAugmentation(shift=1).changes
    assert ImageAugmentation(flip_lr=0.1).changes


def test_an_image_depends_on_seed_epoch_and_its_number_alone():
    augmentation = ImageAugmentation(shift=2, flip_lr=0.5, seed=5)
    together = changed(augmentation, IMAGE, [100_000, 4, 1], 2)
    assert (changed(augmentation, IMAGE, [4], 2)[0] == together[1]).all()
    many = range(100)
    first = changed(augmentation, IMAGE, many, 2)
    assert not (changed(augmentation, IMAGE, many, 3) == first).all()
    assert not (changed(ImageAugmentation(shift=2, flip_lr=0.5, seed=6), IMAGE, many, 2) == first).all()


def test_channels_move_alike_and_an_axis_of_one_pixel_stays():
    augmentation = ImageAugmentation(shift=1, flip_lr=0.5, seed=2)
    colours = changed(augmentation, np.stack([IMAGE, 10 * IMAGE]), range(40))
    assert (colours[:, 0] == changed(augmentation, IMAGE, range(40))).all()
    assert (colours[:, 1] == 10 * colours[:, 0]).all()
    row = changed(augmentation, IMAGE[:1], range(40))
    assert (row.max((1, 2)) >= 3).all()
    assert (changed(augmentation, IMAGE[:1, :1], range(40)) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": -1}, "shift is -1: give a whole number from 0 to 64"),
        ({"shift": 1.5}, "shift is 1.5: give a whole number from 0 to 64"),
        ({"flip_lr": 1.5}, "flip_lr is 1.5: give a probability from 0 to 1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_is_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        ImageAugmentation(**settings)
