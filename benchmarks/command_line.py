"""What a user waits for: the help, and a run in which everything is cached.

python benchmarks/command_line.py [--suite demo]
The suite must have been run before in the working folder.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from side_by_side import medians, report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="demo")
    options = parser.parse_args()
    program = Path(sys.executable).with_name("mae-bench")

    def call(*words: str) -> None:
        subprocess.run([program, *words], check=True, capture_output=True)

    seconds = medians(
        {"--help": lambda: call("--help"), "cached": lambda: call("run", "--suite", options.suite)},
        rounds=7,
    )
    report("Command line", {name: f"{value:.2f} s" for name, value in seconds.items()})


if __name__ == "__main__":
    main()
