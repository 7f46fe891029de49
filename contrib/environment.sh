#!/usr/bin/env bash
# environment.sh BELOW NEW: a virtual environment over another one. It sees what is there and installs on top, so that
# what a distribution of contrib/ needs neither changes gtloop's own environment nor is installed twice.
set -euo pipefail
below=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$1/bin/python" -m venv --without-pip --clear "$2"
site=$("$2/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Not a plain path: only addsitedir follows what editable installs leave there.
echo "import site; site.addsitedir('$below')" >"$site/_below.pth"
