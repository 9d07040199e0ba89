"""`python -m exitsearch` is the `exitsearch` command."""

import sys

from exitsearch.cli.main import main

sys.exit(main())
