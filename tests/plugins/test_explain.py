"""``gtloop explain``: why an item has its label, certificates done again, and faults that it finds."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import runs as small

import gtloop
from gtloop import recheck
from gtloop.job import make_promise
from gtloop.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load(discover=False, extra_modules=["gtloop_plugins"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything: machine labels at the second of three looks' promise, a copy, a torn image."""
    base = tmp_path_factory.mktemp("explain")
    images, truth = small.make_images(base, 180)
    shutil.copy(images / "tiny_003.png", images / "tiny_003_copy.png")
    (images / "torn.png").write_bytes((images / "tiny_001.png").read_bytes()[:400])
    settings = small.settings(images, truth, annotators__synthetic={"decline": 0.2, "cannot_tell": 0.02})
    outcome, found = small.run_here(base / "run", settings)
    assert outcome == "finished"
    assert min(found["items"][name] for name in ("machine", "human", "aliases")) > 0
    return base / "run"


def told(run: Path, *named: object) -> dict[str, Any]:
    ended = small.cli("explain", run, *named, "--json")
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def _rows(run: Path, source: str) -> list[int]:
    return [x.row for x in gtloop.open(run).labels() if x.source == source]


def test_every_certificate_is_done_again(run: Path) -> None:
    found = told(run)["certificates"]
    assert found
    assert all(c["same"] and c["recomputed_p"] == c["p"] for c in found)
    assert "the same" in small.cli("explain", run).out


def test_an_item_of_the_machine(run: Path) -> None:
    for row in _rows(run, "machine")[:3]:
        found = told(run, row)
        (look,) = [x for x in found["looks"] if x["accepted"]]
        assert found["label"]["source"] == "machine"
        assert look["score"] == found["label"]["confidence"] >= look["threshold"]
        assert look["recomputed"]["p"] == look["certificate"]["p"]
        assert found["requests"] == []
        assert found["history"][-1]["event"] == "looked"
        text = small.cli("explain", run, row).out
        assert "the machine labelled it at look 1" in text
        assert "comes out the same" in text


def test_the_number_of_surer_items_is_that_of_the_evidence(run: Path) -> None:
    opened = gtloop.open(run)
    looks = [told(run, row)["looks"][-1] for row in _rows(run, "machine")[:5]]
    certificate = opened.state.facts.certificates[0]
    table = pq.read_table(opened.root / certificate.evidence).to_pydict()
    pool = [s for s, q in zip(table["raw_score"], table["quality"], strict=True) if np.isnan(q)]
    assert [x["surer"] for x in looks] == [sum(s > x["score"] for s in pool) for x in looks]


def test_an_item_of_people(run: Path) -> None:
    seen = set()
    for row in _rows(run, "human")[::12]:
        found = told(run, row)
        request = found["requests"][-1]
        seen.add(request["purpose"])
        used = [a for a in request["answers"] if a["used"]]
        assert found["made"]["workers"] == len(used) == request["wanted"]
        assert all(a["note"] == "declined" for a in request["answers"] if not a["used"])
        assert found["made"]["confidence"] == found["label"]["confidence"]
        assert all(0 <= a["quality"] <= 1 for a in used if a["payload"] is not None)
        events = [h["event"] for h in found["history"]]
        assert events.index("batch-committed") < events.index("answers-collected") < events.index("labels-consolidated")
        assert [h["seq"] for h in found["history"]] == sorted(h["seq"] for h in found["history"])
    assert "train" in seen


def test_items_without_a_label_of_their_own(run: Path) -> None:
    copy = told(run, "tiny_003_copy.png")
    assert copy["alias_of"] == "tiny_003.png"
    assert copy["label"]["payload"] == told(run, "tiny_003.png")["label"]["payload"]
    assert copy["why"][0] == "it is an exact copy of tiny_003.png, and has its label"
    torn = told(run, "torn.png")
    assert (torn["status"], torn["label"]) == ("quarantined", None)
    assert torn["history"][0]["event"] == "items-quarantined"
    assert torn["reason"] in torn["why"]


def test_an_item_is_found_by_name_id_and_row(run: Path) -> None:
    item = told(run, 7)["item"]
    assert told(run, item["id"])["item"] == told(run, item["name"])["item"] == item
    assert "has no image nobody.png" in small.cli("explain", run, "nobody.png").error
    assert "(0 to 181)" in small.cli("explain", run, "182").error


def test_a_page_with_a_picture(run: Path, tmp_path: Path) -> None:
    for row in (_rows(run, "machine")[0], _rows(run, "human")[0]):
        page = tmp_path / f"{row}.html"
        assert small.cli("explain", run, row, "--html", page).code == 0
        text = page.read_text()
        assert len(re.findall('src="data:image/jpeg;base64,', text)) == 1
        assert "What happened:" in text
    assert "name it after the run" in small.cli("explain", run, "--html", page).error


def _copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def test_changed_evidence_is_found_by_its_hash(run: Path, tmp_path: Path) -> None:
    root = _copy(run, tmp_path / "run")
    path = root / gtloop.open(root).state.facts.certificates[0].evidence
    table = pq.read_table(path).to_pydict()
    table["quality"] = [1.0 if q == q else q for q in table["quality"]]
    pq.write_table(pa.table(table), path)
    for named in ((), (_rows(run, "machine")[0],)):
        ended = small.cli("explain", root, *named)
        assert ended.code == 1
        assert "was changed since it was written" in ended.error


def test_a_forged_certificate_is_found_by_its_test(run: Path, tmp_path: Path) -> None:
    """The hash fits, as the evidence is as it was; the p in the ledger is another."""
    root = _copy(run, tmp_path / "run")
    (root / "snapshot.npz").unlink(missing_ok=True)
    with sqlite3.connect(root / "ledger.sqlite") as ledger:
        seq, body = ledger.execute("select seq, body from event where type = 'looked'").fetchone()
        event = json.loads(body)
        event["certificates"][0]["p"] /= 2
        ledger.execute("update event set body = ? where seq = ?", (json.dumps(event), seq))
    for named in ((), (_rows(run, "machine")[0],)):
        ended = small.cli("explain", root, *named)
        assert ended.code == 1
        assert "the test done again differs in p" in ended.error


def test_another_version_of_the_test_is_not_called_a_forgery(run: Path, tmp_path: Path) -> None:
    root = _copy(run, tmp_path / "run")
    (root / "snapshot.npz").unlink(missing_ok=True)
    with sqlite3.connect(root / "ledger.sqlite") as ledger:
        seq, body = ledger.execute("select seq, body from event where type = 'looked'").fetchone()
        event = json.loads(body)
        for certificate in event["certificates"]:
            certificate |= {"test": "some-older-one", "p": 0.0123}
        ledger.execute("update event set body = ? where seq = ?", (json.dumps(event), seq))
    assert "not recomputed: made by test some-older-one" in small.cli("explain", root).out
    found = told(root, _rows(run, "machine")[0])
    assert found["looks"][-1]["recomputed"] is None
    assert any("can't be done again here" in sentence for sentence in found["why"])


def test_a_look_again_sees_what_the_look_saw(run: Path, registry: Registry) -> None:
    """Gathered anew from predictions and labels, evidence is that of the file; so is what is accepted."""
    opened = gtloop.open(run)
    promise = make_promise(opened.settings, opened.task(registry))
    for past, checked in recheck.recheck(opened, promise):
        table = recheck.evidence_table(opened, checked[0].certificate)
        look = recheck.Look(opened, past, registry, {})
        assert look.gathered.rows.tolist() == np.asarray(table["row"]).tolist()
        assert look.gathered.evidence.score == pytest.approx(np.asarray(table["score"]))
        assert look.certify().tolist() == np.asarray(table["accepted"]).tolist()
        known = look.human_quality(look.gathered.rows)
        judged = ~np.isnan(np.asarray(table["quality"], float)) & np.asarray(table["exact"]) & ~np.isnan(known)
        assert known[judged] == pytest.approx(np.asarray(table["quality"], float)[judged])


def test_a_run_before_its_first_look(tmp_path: Path) -> None:
    images, truth = small.make_images(tmp_path, 30)
    root = tmp_path / "run"
    small.run_here(root, small.settings(images, truth, run__annotator="files"), wait=False)
    assert "no certificate" in small.cli("explain", root).out
    found = told(root, gtloop.open(root).items.name[0])
    assert found["status"] in ("pool", "asked")
    assert found["reason"] in found["why"]
