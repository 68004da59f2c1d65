"""`python -m appliance.cli` is `bootdrop`."""

import sys

from appliance.cli.main import main

sys.exit(main(sys.argv[1:]))
