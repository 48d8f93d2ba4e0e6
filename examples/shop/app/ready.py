"""The healthchecks' probe: exit 0 when the URL given answers 200."""

import sys
import urllib.request

print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode())
