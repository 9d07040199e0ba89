"""The quick look at every file: what is cut off, empty or no image is counted and named, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exitsearch.errors import InputError
from exitsearch.learn.data.scan import check_images, fault


def written(folder, suffix, mode="RGB"):
    path = folder / f"noise{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm"])
def test_whole_files_pass_and_cut_ones_do_not(tmp_path, suffix):
    path = written(tmp_path, suffix)
    content = path.read_bytes()
    assert fault(str(path)) is None
    for share in (0.0, 0.01, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert fault(str(path)), share


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_more_behind_the_end_is_no_fault(tmp_path, suffix):
    path = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert fault(str(path)) is None


def test_faults_are_counted_and_the_first_is_named(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(2500)]
    content = written(tmp_path, ".png").read_bytes()
    for number, path in enumerate(files):
        path.write_bytes(b"no image" if number in (700, 2000, 2400) else content)
    shares = []
    with pytest.raises(InputError, match=r"^3 of 2,500 images cannot be read, the first is .*/700\.png \(cannot ident"):
        check_images([str(path) for path in files], progress=lambda share, words: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    check_images([str(path) for path in files[:700]])
    check_images([])
