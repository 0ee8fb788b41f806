"""Write the requirements files: exact versions, with the hashes of their files.

Home Assistant's versions are in pyproject.toml. Its own constraints give the other
versions, so that an environment is the one its releases are tested with.
"""

from collections.abc import Iterable
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import tomllib

ROOT = Path(__file__).parent.parent
MANIFEST = ROOT / "custom_components/temperature_logger/manifest.json"
HEADER = "# Written by scripts/update-requirements.\n"
PYTHON = "3.14.2"

# The sensors are on a Raspberry Pi, most of the work is done on a PC.
MACHINES = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")

# Home Assistant pins releases of these from before Python 3.14, which would need a
# compiler. This project does not use voice; later releases have wheels and start as
# well.
UNPINNED = {"pymicro-vad": "pymicro-vad>=2", "pyspeex-noise": "pyspeex-noise>=2"}
# Plain Python without a wheel; all others must have one, as a compiler may be missing.
SOURCE_ONLY = ("mock-open", "pyric", "pyturbojpeg")


def uv(*arguments: str | Path, lines: Iterable[str] = ()) -> str:
    """Run uv with lines as its standard input; return its output."""
    result = subprocess.run(
        [Path(sys.executable).with_name("uv"), *arguments],
        check=False,
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        sys.exit("scripts/update-requirements: uv failed (its reason is above)")
    return result.stdout


def name(requirement: str) -> str:
    """Return the normalised name of a requirement's package."""
    match = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def resolve(requirements: Iterable[str], machine: str, *options: str | Path) -> str:
    """Return exact versions for one kind of machine, with the hashes of all files."""
    return uv(
        *("pip", "compile", "--quiet", "--generate-hashes", "--no-header"),
        *("--no-annotate", "--python-version", PYTHON, "--python-platform", machine),
        *("--only-binary", ":all:"),
        *(option for package in SOURCE_ONLY for option in ("--no-binary", package)),
        *options,
        "-",
        lines=requirements,
    )


def compile_file(
    path: Path, requirements: Iterable[str], *options: str | Path
) -> list[str]:
    """Resolve requirements into a file for every machine; return its lines."""
    wanted = list(requirements)
    texts = {resolve(wanted, machine, *options) for machine in MACHINES}
    if len(texts) > 1:
        sys.exit(f"{path.name} would differ between {' and '.join(MACHINES)}")
    (text,) = texts
    path.write_text(HEADER + text, encoding="utf-8")
    return text.splitlines()


def started_packages(homeassistant: str, folder: Path) -> tuple[list[str], list[str]]:
    """Install Home Assistant into a folder; return its packages and pins."""
    uv("venv", "--quiet", "--python", sys.executable, folder)
    python = folder / "bin/python"
    uv("pip", "install", "--quiet", "--python", python, homeassistant)
    packages = subprocess.run(
        [python, Path(__file__).with_name("packages.py"), MANIFEST],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    (constraints,) = folder.glob("lib/*/*/homeassistant/package_constraints.txt")
    return packages, constraints.read_text(encoding="utf-8").splitlines()


def compile_environment(
    path: Path, homeassistant: str, tools: Iterable[str], *, is_newest: bool
) -> list[str]:
    """Resolve Home Assistant and the tools into a file; return its lines.

    The pytest plugin requires one exact Home Assistant and its pins. The plugin is
    released later than Home Assistant, so the pins of the newest Home Assistant take
    precedence.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packages, constraints = started_packages(homeassistant, folder / "venv")
        wanted = [UNPINNED.get(name(line), line) for line in packages]
        bounds = [line for line in constraints if name(line) not in UNPINNED]
        pins = [line for line in (homeassistant, *wanted, *bounds) if "==" in line]
        (folder / "constraints").write_text("\n".join(bounds), encoding="utf-8")
        (folder / "overrides").write_text(
            "\n".join(pins if is_newest else ()), encoding="utf-8"
        )
        return compile_file(
            path,
            [homeassistant, *tools, *wanted],
            *("--constraints", folder / "constraints"),
            *("--overrides", folder / "overrides"),
        )


def main() -> None:
    """Write the files of both environments and of their installer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    (newest,) = groups["home-assistant-newest"]
    (minimum,) = groups["home-assistant-minimum"]
    lines = compile_environment(
        ROOT / "requirements.txt",
        newest,
        [*groups["lint"], *groups["tests"]],
        is_newest=True,
    )
    compile_environment(
        ROOT / "requirements-minimum.txt", minimum, groups["tests"], is_newest=False
    )
    (pinned,) = (line for line in lines if name(line) == "uv")
    compile_file(ROOT / "requirements-uv.txt", [pinned.removesuffix(" \\")])
    compile_file(ROOT / "requirements-build.txt", ["setuptools"])


if __name__ == "__main__":
    main()
