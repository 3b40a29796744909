"""Each format is read as it is written: tiny real files, made here."""

import gzip
import io
import json
import struct
import tarfile
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from trimtab_models.datasets import cifar10, esc10, phone_watch, planes, spoken_digits
from trimtab_models.datasets.archives import (
    deb_members,
    extract,
    gzip_sha256,
    npz_sha256,
    tar_members,
    zip_sha256,
)
from trimtab_models.datasets.idx import read_idx, read_images
from trimtab_models.datasets.samples import Samples, moments
from trimtab_models.errors import DatasetError

# idx


def _idx(array: NDArray[Any], kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def test_idx_images_and_labels(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "images").write_bytes(_idx(images))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(_idx(np.array([7, 9], np.uint8))))
    samples = read_images(tmp_path / "images", tmp_path / "labels.gz")
    assert samples.inputs.shape == (2, 1, 3, 4)
    assert np.array_equal(samples.inputs[:, 0], images)
    assert samples.labels.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no idx file"),
        (b"\x89PNG....", "no idx file"),
        (_idx(np.zeros((2, 2), np.uint8), kind=13), "no idx file of unsigned bytes"),
        (_idx(np.zeros((2, 2), np.uint8))[:-1], r"has 3 bytes of data; its header says \(2, 2\)"),
    ],
)
def test_what_is_no_idx_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DatasetError, match=f"images: {reason}"):
        read_idx(tmp_path / "images")


def test_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(_idx(np.zeros((3, 2, 2), np.uint8)))
    (tmp_path / "labels").write_bytes(_idx(np.zeros(2, np.uint8)))
    with pytest.raises(DatasetError, match="do not belong together"):
        read_images(tmp_path / "images", tmp_path / "labels")


# strips of images


def test_a_strip_has_an_image_in_each_row(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rows = np.random.default_rng(0).integers(0, 256, (2, 1024, 3), dtype=np.uint8)
    image.fromarray(rows).save(tmp_path / "strip.png")
    images = cifar10.read_strip(tmp_path / "strip.png")
    assert images.shape == (2, 3, 32, 32)
    assert images[1, 2, 5, 7] == rows[1, 5 * 32 + 7, 2]
    image.fromarray(rows[:, :1000]).save(tmp_path / "strip.png")
    with pytest.raises(DatasetError, match="1024 wide, not RGB, 1000"):
        cifar10.read_strip(tmp_path / "strip.png")


# byte planes


def test_planes_hold_differences() -> None:
    low, high = planes.split(np.array([[1, 258, 0], [-1, -2, 32767]], np.int16))
    assert low.tolist() == [[1, 1, 254], [255, 255, 1]]
    assert high.tolist() == [[0, 1, 254], [255, 255, 128]]


@given(arrays.arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(0, 40))))
def test_planes_give_the_signal_back(signal: NDArray[Any]) -> None:
    assert np.array_equal(planes.join(*planes.split(signal)), signal)


# spoken digits


def test_recordings_are_fitted_into_a_second() -> None:
    assert spoken_digits.fit(np.array([1, 2, 3], np.int16), 6).tolist() == [0, 1, 2, 3, 0, 0]
    assert spoken_digits.fit(np.array([1, 2, 3], np.int16), 3).tolist() == [1, 2, 3]
    assert spoken_digits.fit(np.array([9, 1, -300, 300, 5, 6], np.int16), 3).tolist() == [-300, 300, 5]


def _wav(samples: list[int], rate_hz: int = 8000) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.array(samples, "<i2").tobytes())
    return written.getvalue()


def _tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_recordings_of_the_repository_are_packed_in_order(tmp_path: Path) -> None:
    files = {
        "fsdd-26eb/recordings/3_theo_2.wav": _wav([5, -6]),
        "fsdd-26eb/recordings/3_theo_10.wav": _wav([1, 2, 3]),
        "fsdd-26eb/recordings/0_lucas_0.wav": _wav([-32768, 32767]),
        "fsdd-26eb/metadata.py": b"",
    }
    spoken_digits.pack(_tar(tmp_path / "repo.tar.gz", files), tmp_path)
    with np.load(tmp_path / "fsdd_8khz.npz") as packed:
        signals = spoken_digits.recordings(packed["lo"], packed["hi"], packed["length"])
        assert [signal.tolist() for signal in signals] == [[-32768, 32767], [1, 2, 3], [5, -6]]
        assert packed["digit"].tolist() == [0, 3, 3]
        assert packed["take"].tolist() == [0, 10, 2]
        assert packed["speakers"][packed["speaker"]].tolist() == ["lucas", "theo", "theo"]


def test_a_recording_at_another_rate_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "repo.tar.gz", {"x/recordings/3_theo_2.wav": _wav([5], 16000)})
    with pytest.raises(DatasetError, match=r"3_theo_2\.wav: not mono 16-bit audio at 8000 Hz"):
        spoken_digits.pack(archive, tmp_path)


# motion

HEADER = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"


def test_windows_overlap_by_half_and_reach_over_no_end() -> None:
    motion = np.arange(20, dtype=np.int16).reshape(2, 10)
    cut = phone_watch.windows(motion, 4, 2)
    assert cut.shape == (4, 2, 4)
    assert cut[1].tolist() == [[2, 3, 4, 5], [12, 13, 14, 15]]
    assert phone_watch.windows(motion, 11, 2).shape == (0, 2, 11)


def test_the_motion_of_the_repository_is_packed_in_order(tmp_path: Path) -> None:
    lines = [HEADER, "1.0,-2.0,0.0,0.5,0.001,0.0,1000,WALKING", "1.25,-2.0,0.0,0.5,0.0,0.0,1011,TURNING"]
    files = {
        "sw/DATA/s02/s02_01_sp.csv": "\n".join(lines).encode(),
        "sw/DATA/s01/s01_10_sw.csv": "\n".join(lines[:2]).encode(),
        "sw/DATA/s01/s01_10_sp.csv": "\n".join(lines[:2]).encode(),
        "sw/DATA/executions_info.csv": b"no",
    }
    phone_watch.pack(_tar(tmp_path / "repo.tar.gz", files), tmp_path)
    recordings = phone_watch.read(tmp_path / "har_phone_watch.npz")
    assert [recording.subject for recording in recordings] == [1, 1, 2]
    assert recordings[2].motion.tolist() == [[512, 640], [-1024, -1024], [0, 0], [512, 512], [1, 0], [0, 0]]
    assert recordings[2].label.tolist() == [2, 3]
    with np.load(tmp_path / "har_phone_watch.npz") as packed:
        assert packed["dt_ms"].tolist() == [0, 0, 0, 11]
        assert packed["device"].tolist() == [0, 1, 0]


def test_motion_with_other_columns_is_refused(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "repo.tar.gz", {"sw/DATA/s02/s02_01_sp.csv": b"x,y\n1,2\n"})
    with pytest.raises(DatasetError, match=r"s02_01_sp\.csv: its columns are x,y"):
        phone_watch.pack(archive, tmp_path)


# sounds


def test_a_clip_is_decoded_resampled_and_filled_up(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    for rate_hz in (16000, 44100):
        time_s = np.arange(2 * rate_hz) / rate_hz
        ogg = io.BytesIO()
        soundfile.write(ogg, 0.5 * np.sin(2 * np.pi * 440 * time_s), rate_hz, format="OGG", subtype="VORBIS")
        audio = esc10.decode(ogg.getvalue(), "clip")
        assert audio.dtype == np.int16
        assert audio.shape == (80_000,)
        spectrum = np.abs(np.fft.rfft(audio[:32_000]))
        assert np.argmax(spectrum) == 440 * 2
        assert 14_000 < np.abs(audio[1000:30_000]).max() < 18_000
        assert np.abs(audio[34_000:]).max() < 200
    with pytest.raises(DatasetError, match="clip: cannot be decoded"):
        esc10.decode(b"OggS but no more", "clip")


def _tone(length: int) -> NDArray[np.int16]:
    """Return ten periods of a sine in ``length`` samples."""
    tone: NDArray[np.int16] = np.rint(8000 * np.sin(20 * np.pi * np.arange(length) / length)).astype(np.int16)
    return tone


def test_resampling_keeps_a_tone() -> None:
    error = esc10.resampled(_tone(4410), 1600) - _tone(1600)
    assert np.abs(error).max() <= 2


def test_clips_of_the_repository_are_packed_without_the_two_left_out(tmp_path: Path) -> None:
    files = {
        "ESC-10-553c/010 - Fire crackling/5-2-A.ogg": b"fire",
        "ESC-10-553c/009 - Rooster/1-40730-A.ogg": b"left out",
        "ESC-10-553c/001 - Dog bark/1-30-B.ogg": b"dog",
        "ESC-10-553c/README.md": b"no",
    }
    esc10.pack(_tar(tmp_path / "repo.tar.gz", files), tmp_path)
    with zipfile.ZipFile(tmp_path / "esc10_44khz_vorbis.zip") as packed:
        assert packed.namelist() == ["01/1-30-B.ogg", "10/5-2-A.ogg"]
        assert packed.read("10/5-2-A.ogg") == b"fire"


# archives


def _ar(files: dict[str, bytes]) -> bytes:
    written = b"!<arch>\n"
    for name, content in files.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        written += header.encode() + content + b"\n" * (len(content) % 2)
    return written


def test_a_debian_package_is_read(tmp_path: Path) -> None:
    data = _tar(tmp_path / "data.tar.gz", {"./usr/share/x/a.gz": b"aaa", "./usr/share/doc/b": b"no"})
    parts = {"debian-binary": b"2.0", "control.tar.gz": b"odd", "data.tar.gz": data.read_bytes()}
    (tmp_path / "x.deb").write_bytes(_ar(parts))
    extract(tmp_path / "x.deb", tmp_path, {"usr/share/x/a.gz": "a.gz"}, deb_members)
    assert (tmp_path / "a.gz").read_bytes() == b"aaa"
    assert not (tmp_path / "b").exists()
    for broken in (b"no ar at all", _ar({"debian-binary": b"2.0\n"}), b"!<arch>\n" + b"x" * 60):
        (tmp_path / "x.deb").write_bytes(broken)
        with pytest.raises(DatasetError, match=r"x\.deb: no Debian package"):
            list(deb_members(tmp_path / "x.deb"))


def test_a_member_over_the_limit_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar", "w") as tar:
        member = tarfile.TarInfo("huge")
        member.size = 1 << 40
        tar.addfile(member)
    with pytest.raises(DatasetError, match=r"bomb\.tar: huge has 1099511627776 bytes"):
        list(tar_members(tmp_path / "bomb.tar"))


def test_digests_are_of_content_not_of_packing(tmp_path: Path) -> None:
    for number, save in enumerate((np.savez, np.savez_compressed)):
        save(tmp_path / f"{number}.npz", a=np.arange(5), b=np.array(["x"]))
    np.savez(tmp_path / "2.npz", a=np.arange(5).reshape(5, 1), b=np.array(["x"]))
    same, also, other = (npz_sha256(tmp_path / f"{number}.npz") for number in range(3))
    assert same == also != other
    for number, kind in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w", kind) as packed:
            for name in "ab" if number else "ba":
                packed.writestr(name, json.dumps(name))
    assert zip_sha256(tmp_path / "0.zip") == zip_sha256(tmp_path / "1.zip")
    for level in (1, 9):
        (tmp_path / f"{level}.gz").write_bytes(gzip.compress(b"a" * 999, level))
    assert gzip_sha256(tmp_path / "1.gz") == gzip_sha256(tmp_path / "9.gz")


# moments


def test_moments_are_of_channels_or_of_the_whole_signal() -> None:
    window = np.array([[[0, 4], [1, 1]], [[0, 4], [1, 1]]], np.int16)
    labels, index = np.zeros(2, np.uint8), np.arange(2)
    assert moments(Samples(window, labels, index, (0.5, 2.0))) == ((1.0, 2.0), (1.0, 0.0))
    assert moments(Samples(window[:, 0], labels, index, 0.25)) == ((0.5,), (0.5,))
    many = np.random.default_rng(0).integers(0, 256, (1200, 3, 4, 4), dtype=np.uint8)
    mean, std = moments(Samples(many, np.zeros(1200, np.uint8), np.arange(1200)))
    assert mean == pytest.approx(many.mean(axis=(0, 2, 3)) / 255, abs=1e-4)
    assert std == pytest.approx(many.std(axis=(0, 2, 3)) / 255, abs=1e-4)
