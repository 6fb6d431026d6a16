import dataclasses
import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mae_bench.core.compute import Compute
from mae_bench.kit import features as module
from mae_bench.kit.encoder import Encoder, read_encoder, write_encoder
from mae_bench.kit.features import frozen_features
from mae_bench.kit.fit import at_image_size
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.keeper import ALONE
from mae_bench.kit.samples import read_samples
from mae_bench.kit.shards import make_shards
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer, init_weights

DRIVE = Path(__file__).with_name("drive_features.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
TORCHRUN += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
COUNT = 30
CHUNK = 8


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep the cache in this test's folder, in parts of 8 images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHUNK", CHUNK)
    return tmp_path / "cache" / "mae-bench" / "features"


@pytest.fixture
def data(tmp_path):
    """Return a folder of 30 training images of two classes."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        folder = tmp_path / "data" / "train" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 36, 3), dtype=np.uint8)).save(
            folder / f"{i}.JPEG"
        )
    return tmp_path / "data"


def model_of(seed, gain=1.0):
    """Return an encoder's spec and a random model of it."""
    spec = named_spec("vit_smoke_patch8", 32, origin="mae")
    torch.manual_seed(seed)
    model = VisionTransformer(spec)
    init_weights(model)
    with torch.no_grad():
        model.norm.weight.mul_(gain)
    return model.eval()


def encoder(tmp_path, seed=0, gain=1.0) -> Encoder:
    path = tmp_path / f"encoder-{seed}-{gain}.safetensors"
    model = model_of(seed, gain)
    write_encoder(path, model.spec, model.state_dict())
    return read_encoder(path)


def parts(cache):
    """Return name and time of change of every part that is kept."""
    return {str(path): path.stat().st_mtime_ns for path in cache.rglob("*.npy")}


def test_features_are_the_models_own_of_the_test_view(tmp_path, data):
    samples = read_samples(data, "train")
    found = frozen_features(encoder(tmp_path), samples, ALONE)
    assert len(found) == COUNT
    model, rows = model_of(0), []
    for i in range(COUNT):
        with Image.open(samples.name(i)) as image:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        with torch.no_grad():
            tokens = model(normalize(eval_view(32)(pixels, random.Random(0))[None]))
        rows.append(tokens[0, 0])
    torch.testing.assert_close(found.rows(), torch.stack(rows), rtol=1e-3, atol=1e-3)
    assert all(part.dtype == np.float16 for part in found.parts)


def test_the_second_call_reads_what_the_first_kept(tmp_path, data, cache):
    samples = read_samples(data, "train")
    first = frozen_features(encoder(tmp_path), samples, ALONE).rows()
    kept = parts(cache)
    assert len(kept) == 4
    assert not list(cache.rglob("*.part"))
    for path in (data / "train").rglob("*.JPEG"):  # of the same size, but no image any more
        path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(frozen_features(encoder(tmp_path), samples, ALONE).rows(), first)
    assert parts(cache) == kept


def test_lost_and_damaged_parts_alone_are_computed_again_to_the_same_bits(tmp_path, data, cache):
    samples = read_samples(data, "train")
    first = frozen_features(encoder(tmp_path), samples, ALONE).rows()
    kept = sorted(parts(cache))
    Path(kept[1]).unlink()
    Path(kept[2]).write_bytes(Path(kept[2]).read_bytes()[:-40])
    before = parts(cache)
    assert torch.equal(frozen_features(encoder(tmp_path), samples, ALONE).rows(), first)
    after = parts(cache)
    assert [after[path] == before.get(path) for path in kept] == [True, False, False, True]


def changed(what, tmp_path, data):
    """Return encoder and samples after one change of what decides the features."""
    made, samples = encoder(tmp_path), read_samples(data, "train")
    if what == "encoder":
        made = encoder(tmp_path, seed=1)
    elif what == "history":
        made = dataclasses.replace(made, history=("layers averaged",))
    elif what == "image_size":
        made = at_image_size(made, 40)
    elif what == "spec":
        made = dataclasses.replace(made, spec=dataclasses.replace(made.spec, mean=(0.5, 0.5, 0.5)))
    elif what == "fewer":
        samples = samples.subset(np.arange(COUNT - 1))
    elif what == "renamed":
        (data / "train" / "class1" / "29.JPEG").rename(data / "train" / "class1" / "99.JPEG")
        samples = read_samples(data, "train")
    elif what == "rewritten":  # in place, which no folder's time of change tells
        path = data / "train" / "class0" / "0.JPEG"
        Image.new("RGB", (36, 40)).save(path)
    return made, samples


@pytest.mark.parametrize(
    "what", ["encoder", "history", "image_size", "spec", "fewer", "renamed", "rewritten"]
)
def test_a_change_of_anything_that_decides_them_gives_other_features(tmp_path, data, cache, what):
    frozen_features(encoder(tmp_path), read_samples(data, "train"), ALONE)
    before = parts(cache)
    time.sleep(0.01)
    frozen_features(*changed(what, tmp_path, data), ALONE)
    assert len(parts(cache)) >= 2 * len(before)


def test_other_arithmetic_gives_other_features(tmp_path, data, cache):
    samples = read_samples(data, "train")
    whole = frozen_features(encoder(tmp_path), samples, ALONE).rows()
    half = dataclasses.replace(ALONE, compute=Compute(precision="bf16"))
    rough = frozen_features(encoder(tmp_path), samples, half).rows()
    assert len(parts(cache)) == 8
    assert 1e-4 < (whole - rough).abs().max() < 0.2


def test_shards_give_the_features_of_the_folder(tmp_path, data):
    (data / "val").symlink_to(data / "train")
    make_shards(data, tmp_path / "shards", images_per_shard=7)
    plain, sharded = (
        frozen_features(encoder(tmp_path), read_samples(root, "train"), ALONE).rows()
        for root in (data, tmp_path / "shards")
    )
    assert torch.equal(plain, sharded)


def test_a_full_disk_costs_the_cache_and_not_the_features(tmp_path, data, cache, caplog):
    samples, made = read_samples(data, "train"), encoder(tmp_path)
    first = frozen_features(made, samples, ALONE).rows()
    for path in cache.rglob("*.npy"):
        path.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # of a file; as EFBIG, not ENOSPC
    try:
        again = frozen_features(made, samples, ALONE).rows()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(first, again)
    assert caplog.text.count("features are not kept in") == 1
    assert os.strerror(errno.EFBIG) in caplog.text
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_the_features_unused_for_longest_make_room(tmp_path, data, cache, monkeypatch):
    samples = read_samples(data, "train")
    folders = []
    for seed in range(3):
        frozen_features(encoder(tmp_path, seed), samples, ALONE)
        folders.append(next(f for f in cache.iterdir() if f not in folders))
        os.utime(folders[-1], (seed, seed))
    frozen_features(encoder(tmp_path, 0), samples, ALONE)  # used again
    size = sum(path.stat().st_size for path in folders[0].iterdir())
    monkeypatch.setattr(module, "MOST_BYTES", int(3.2 * size))
    frozen_features(encoder(tmp_path, 3), samples, ALONE)
    assert [folder.exists() for folder in folders] == [True, False, True]


def test_more_than_may_be_kept_is_not_kept_and_said(tmp_path, data, cache, monkeypatch, caplog):
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    assert len(frozen_features(encoder(tmp_path), read_samples(data, "train"), ALONE)) == COUNT
    assert "features are not kept" in caplog.text
    assert not parts(cache)


def test_features_too_large_for_float16_keep_their_values(tmp_path, data):
    samples = read_samples(data, "train")
    small = frozen_features(encoder(tmp_path), samples, ALONE).rows()
    large = frozen_features(encoder(tmp_path, gain=1e5), samples, ALONE)
    assert {part.dtype for part in large.parts} == {np.dtype("float32")}
    torch.testing.assert_close(large.rows() / 1e5, small, rtol=2e-3, atol=2e-3)


def test_features_that_are_no_numbers_are_refused(tmp_path, data, cache):
    broken = encoder(tmp_path)
    broken.state["norm.bias"][3] = float("inf")
    with pytest.raises(ValueError, match="vit_smoke_patch8 encoder gives features that are not fi"):
        frozen_features(broken, read_samples(data, "train"), ALONE)
    assert not parts(cache)


def test_an_unreadable_image_is_named(tmp_path, data):
    path = data / "train" / "class1" / "15.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"15\.JPEG is not a readable image"):
        frozen_features(encoder(tmp_path), read_samples(data, "train"), ALONE)


def drive(tmp_path, data, command):
    """Compute features in processes of their own; return their answer."""
    out = tmp_path / f"out-{len(command)}.npy"
    answer = subprocess.run(
        [*command, DRIVE, tmp_path / "encoder-0-1.0.safetensors", data, out],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / f"cache-{len(command)}")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return np.load(out), answer.stdout


def test_two_ranks_share_the_images_and_give_the_features_of_one(tmp_path, data):
    encoder(tmp_path)
    alone, _ = drive(tmp_path, data, [sys.executable])
    both, output = drive(tmp_path, data, TORCHRUN)
    assert np.array_equal(alone, both)
    assert sorted(map(int, output.split())) == [14, 16]  # parts of 8, 8, 8 and 6 images


def test_killed_at_any_time_it_leaves_whole_parts_and_goes_on(tmp_path, data, cache):
    first = frozen_features(encoder(tmp_path), read_samples(data, "train"), ALONE).rows()
    command = [sys.executable, DRIVE, tmp_path / "encoder-0-1.0.safetensors", data]
    kept = tmp_path / "killed" / "mae-bench" / "features"
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "killed")}
    run = subprocess.Popen([*command, tmp_path / "out.npy", "0.3"], env=env)
    end = time.monotonic() + 60
    while len(parts(kept)) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait(10)
    before = parts(kept)
    assert 2 <= len(before) < 4
    subprocess.run([*command, tmp_path / "out.npy"], env=env, check=True, timeout=60)
    assert before.items() <= parts(kept).items()
    assert np.array_equal(np.load(tmp_path / "out.npy"), first.numpy())
