"""``python -m emulator FOLDER PORT``: serve with the books and ``plan.json`` in FOLDER; prints the port."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from emulator.books import Books
from emulator.market import Market
from emulator.server import Emulator

folder, port = Path(sys.argv[1]), int(sys.argv[2])
market = Market(Books(folder / "emulator.sqlite"))
if not market.books.fact("deposit"):
    market.books.put("deposit", 10_000 * 1_000_000)
server = Emulator(("127.0.0.1", port), market, json.loads((folder / "plan.json").read_text()))
print(server.server_address[1], flush=True)
server.serve_forever()
