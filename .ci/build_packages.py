"""The source distribution and the wheel of what is committed. The same commit and the same tools give the same bytes.

    python .ci/build_packages.py [--out dist]

Needs git, and the packages build and setuptools; ``make package`` installs them. $SOURCE_DATE_EPOCH, by default the time of the commit, is
the time of all files inside. setuptools keeps to it in wheels; source distributions are packed anew here, and wheels are built from those.
"""

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def committed(target: Path) -> None:
    """Put the files of HEAD into a folder: nothing that lies around, no leftovers of earlier builds."""
    content = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(target, filter="data")


def build(kind: str, source: Path, out: Path) -> Path:
    """One distribution, ``sdist`` or ``wheel``, of a folder."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    (found,) = out.iterdir()
    return found


def packed_anew(archive: Path, epoch: int) -> None:
    """The same files in the order of their names, of one time, one owner and the usual permissions."""
    tar = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda m: m.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with archive.open("wb") as file, gzip.GzipFile("", "wb", 9, file, epoch) as packed:
        packed.write(tar.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="D", help="folder for both files (default dist)")
    out = parser.parse_args().out.absolute()
    time = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    epoch = int(os.environ.setdefault("SOURCE_DATE_EPOCH", time.strip()))
    with tempfile.TemporaryDirectory() as temporary:
        source, unpacked, sdists, wheels = (Path(temporary) / name for name in ("source", "unpacked", "sdists", "wheels"))
        committed(source)
        sdist = build("sdist", source, sdists)
        packed_anew(sdist, epoch)
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        wheel = build("wheel", next(unpacked.iterdir()), wheels)
        out.mkdir(parents=True, exist_ok=True)
        for file in (sdist, wheel):
            shutil.copyfile(file, out / file.name)
            print(f"{out / file.name}: {file.stat().st_size / 2**20:.2f} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
