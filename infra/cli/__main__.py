import sys

from infra.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
