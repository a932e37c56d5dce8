"""`python -m reldn_cli` is the command `reldn`."""

import sys

from reldn_cli.main import main

sys.exit(main())
