"""`python -m bertgrow`."""

import sys

from bertgrow.cli import main

sys.exit(main())
