"""Runs a study: `python ablations/run.py --study decoding`, from any folder.

Holds no definition of its own; see `cli/main.py`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts this script's folder first; the package lies one folder up. vLLM's workers start here too.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from ablations.cli.main import main

    sys.exit(main(["run", *sys.argv[1:]]))
