"""Further commands: `python -m ablations --help`."""

import sys

from ablations.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
