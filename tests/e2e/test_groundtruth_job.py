"""A whole Ground Truth job becomes a run: imported, reported, continued to the end."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import buckets
import gtjobs
import pytest
import runs
from PIL import Image

import gtloop
from gtloop.interfaces import Context
from gtloop.records import Item, Payload
from gtloop.state import HUMAN, TRAIN
from gtloop_plugins.formats.groundtruth.jobs.answers import Said, framed
from gtloop_plugins.tasks.bbox import BBox

NAME = "wild  raccoon"
PLACE = {"left": 1, "top": 1, "width": 3, "height": 2}
PRICES = {"bbox": 0.036, "classification": 0.012, "segmentation": 0.84}


def import_job(job: Path, images: Path, root: Path, *more: object) -> dict[str, Any]:
    ended = runs.cli(
        "import", "groundtruth", job, "--images", images, "--run", root, "--detector", "stub", "--json", *more
    )
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def truth_file(path: Path, images: list[tuple[Path, Payload]], folder: bool = False) -> Path:
    names = [f"{p.parent.name}/{p.name}" if folder else p.name for p, _ in images]
    lines = [{"name": n, "payload": payload} for n, (_, payload) in zip(names, images, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def tiny(folder: Path, n: int) -> list[tuple[Path, Payload]]:
    """Generated images with known boxes, which the stub learns well."""
    images, truth = runs.make_images(folder, n)
    known = [json.loads(line) for line in truth.read_text().splitlines()]
    return [(images / k["name"], k["payload"]) for k in known]


def named(pair: tuple[Path, Payload]) -> tuple[Path, Payload]:
    return pair[0], {"boxes": [{**box, "category": NAME} for box in pair[1]["boxes"]]}


def spent(job: gtjobs.Job) -> float:
    """What the service billed, dollars."""
    answers = sum(a.outcome != "declined" for given in job.answers.values() for a in given)
    return answers * PRICES[job.name] + 0.08 * (len(job.answers) + len(job.auto))


# --------------------------------------------------------------------------------------------- a whole job


@pytest.fixture(scope="module")
def raccoons(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> gtjobs.Job:
    """Automated labelling of real photographs, 12 iterations; the name of the category has two blanks in a row."""
    images = [named(pair) for pair in gtjobs.raccoons(shared_data, 70) if Image.open(pair[0]).width < 1000][:60]
    return gtjobs.automated(tmp_path_factory.mktemp("jobs") / "raccoons", "bbox", images, [NAME], left=12)


@pytest.fixture(scope="module")
def imported(raccoons: gtjobs.Job, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("imported") / "run"
    import_job(raccoons.root, shared_data / "raccoons", root)
    return root


def test_every_answer_is_a_fact(raccoons: gtjobs.Job, imported: Path) -> None:
    run = gtloop.open(imported)
    found = {(row, a.worker.removeprefix("public.us-east-1.")): a for row, _, given in run.answers() for a in given}
    assert found.keys() == {(n, a.worker) for n, given in raccoons.answers.items() for a in given}
    for n, given in raccoons.answers.items():
        for told in given:
            kept = found[n, told.worker]
            assert kept.at.startswith(told.at[:19])
            assert (kept.outcome, kept.price) == (told.outcome, 36_000)
            boxes = [] if told.payload is None else told.payload["boxes"]
            assert [b["xyxy"][:2] for b in (kept.payload or {"boxes": []})["boxes"]] == [
                [round(v) for v in b["xyxy"][:2]] for b in boxes
            ]
    seconds = {row: {a.active_seconds for a in given} for row, _, given in run.answers()}
    iteration = run.state.columns["iteration"]
    assert all((s == {0.0}) == (iteration[row] <= gtjobs.OLD) for row, s in seconds.items())
    assert run.state.facts.settled == len(run.state.facts.answer_files), "nobody else is to pay them"
    assert "SECRET" not in "".join(json.dumps(a.model_dump()) for a in found.values())
    for path in imported.rglob("*"):
        assert not path.is_file() or b"SECRET" not in path.read_bytes(), path


def test_iterations_are_as_they_were(raccoons: gtjobs.Job, imported: Path) -> None:
    """Those above 9, the machine's alone at the end, and what the model labelled between."""
    found = runs.status(imported)
    assert [i["n"] for i in found["iterations"]] == list(range(1, 13))
    phases = [i["phase"] for i in found["iterations"]]
    assert phases == ["probe", "validation", "train", *["active"] * 8, "machine"]
    run = gtloop.open(imported)
    machine = {label.row: label for label in run.labels() if label.source == "machine"}
    assert machine.keys() == raccoons.auto.keys()
    assert all(label.iteration == raccoons.auto[row] for row, label in machine.items())
    assert all(label.confidence == pytest.approx(0.7) for label in machine.values())
    assert {(b["category"], b["confidence"]) for m in machine.values() for b in m.payload["boxes"]} == {(NAME, 0.7)}
    assert (run.state.status[list(raccoons.answers)] == HUMAN).all()


def test_what_it_cost_and_how_it_stands(raccoons: gtjobs.Job, imported: Path) -> None:
    found = runs.status(imported)
    assert found["cost_usd"]["total"] == pytest.approx(spent(raccoons))
    assert found["items"]["human"] == len(raccoons.answers)
    assert found["items"]["machine"] == len(raccoons.auto) == found["promise"]["unproven"]
    assert found["promise"]["certified"] is None
    assert "nothing certifies" in found["summary"]
    report = json.loads(runs.cli("report", imported, "--json").out)
    assert report["people"]["answers"] == found["annotations"]
    ended = runs.cli("report", imported)
    assert ended.code == 0, ended.err
    assert "raccoon" in (imported / "report/index.html").read_text()


def test_a_second_import_says_so(raccoons: gtjobs.Job, imported: Path, shared_data: Path, tmp_path: Path) -> None:
    before = [e.seq for e in gtloop.open(imported).events()]
    again = import_job(raccoons.root, shared_data / "raccoons", imported)
    assert again["already"]
    assert [e.seq for e in gtloop.open(imported).events()] == before
    copy = shutil.copytree(imported, tmp_path / "run")
    other = shutil.copytree(raccoons.root, tmp_path / "raccoons")
    refused = runs.cli("import", "groundtruth", other, "--run", copy)
    assert "holds something else" in refused.error
    grown = json.loads((copy / "import.json").read_text()) | {"fingerprint": "of yesterday"}
    (copy / "import.json").write_text(json.dumps(grown))
    refused = runs.cli("import", "groundtruth", raccoons.root, "--run", copy)
    assert "has changed since" in refused.error


def test_it_goes_on_to_the_end(raccoons: gtjobs.Job, imported: Path, tmp_path: Path) -> None:
    root = shutil.copytree(imported, tmp_path / "run")
    truth = truth_file(tmp_path / "truth.jsonl", list(raccoons.images))
    before = {row: r for row, r in runs.exported(root).items() if r["payload"] is not None}
    ended = runs.cli("run", "--run", root, "--annotator", "synthetic", "--truth", truth)
    assert ended.code == 0, ended.err
    found, after = runs.status(root), runs.exported(root)
    assert found["state"] == "finished"
    assert found["stage"] == 2
    assert {r["source"] for r in after.values()} == {"human", "machine"}
    changed = {name: (row, after[name]) for name, row in before.items() if after[name] != row}
    assert not changed, "what was labelled stays as it was"
    assert found["iterations"][11]["phase"] == "probe"


# -------------------------------------------------------------------------------------- what is certified


@pytest.mark.slow
def test_only_what_is_tested_here_is_certified(tmp_path: Path) -> None:
    """The pool that the service left gets a validation set of its own; imported labels never validate."""
    images = tiny(tmp_path, 330)
    job = gtjobs.automated(tmp_path / "crates", "bbox", images, ["crate", "drum"], left=180)
    root = tmp_path / "run"
    sizes = [x for k, v in runs.SIZES.items() for x in ("-o", f"sizes.{k}={v}")]
    promise = ("-o", "promise.kind=dataset", "-o", "promise.max_loss=0.06")
    import_job(job.root, tmp_path, root, *sizes, *promise)
    run = gtloop.open(root)
    assert (run.state.role[run.state.status == HUMAN] == TRAIN).all()
    assert not run.state.columns["random"].any()
    assert not len(run.state.validation_rows())
    ended = runs.cli("run", "--run", root, "--annotator", "synthetic", "--truth", tmp_path / "truth.jsonl")
    assert ended.code == 0, ended.err
    found = runs.status(root)
    certificates = found["promise"]["certificates"]
    assert [c["threshold"] is not None for c in certificates] == [True]
    assert found["promise"]["certified"] is None
    assert found["promise"]["certified_rest"] == pytest.approx(certificates[0]["bound"])
    assert found["promise"]["unproven"] == len(job.auto)
    evidence = gtloop.open(root).store.read_path(certificates[0]["evidence"])
    assert set(map(int, evidence["row"])).isdisjoint(job.answers.keys() | job.auto.keys())
    assert runs.cli("explain", root).code == 0, "its test can be done again"
    assert "relabel" in runs.cli("relabel", root, "--source", "machine", "--json").out
    assert runs.status(root)["promise"]["unproven"] == 0


def test_an_audit_checks_what_the_service_labelled(tmp_path: Path) -> None:
    images = tiny(tmp_path, 40)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, range(0, 40, 4))
    job.label(2, [n for n in range(40) if n % 4])
    job.finish()
    root = tmp_path / "run"
    found = import_job(job.root, tmp_path, root)
    assert found["state"] == "finished"
    assert runs.cli("audit", root, "--n", "12").code == 0
    ended = runs.cli("run", "--run", root, "--annotator", "synthetic", "--truth", tmp_path / "truth.jsonl",
                     "-o", "annotators.synthetic.noise=0")  # fmt: skip
    assert ended.code == 0, ended.err
    promise = runs.status(root)["promise"]
    assert promise["audit"]["audited"] == 12
    assert promise["measured"] > 0.9


# ------------------------------------------------------------------------------------------- other jobs


def test_what_would_help_is_to_be_said_in_another_import(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = tiny(tmp_path, 150)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, range(8))
    job.finish()
    with caplog.at_level("INFO", "gtloop"):
        import_job(job.root, tmp_path, tmp_path / "run", "-o", "sizes.validation=20")
    note = next(r.getMessage() for r in caplog.records if "of the images that are left" in r.getMessage())
    assert "-o sizes.validation=" in note
    assert note.endswith("; settings like these are fixed from now on: import into another --run with them")


def test_classification_of_digits(shared_data: Path, tmp_path: Path) -> None:
    images, categories = gtjobs.digits(shared_data, 150)
    job = gtjobs.automated(tmp_path / "digits", "classification", images, categories, left=30)
    root = tmp_path / "run"
    found = import_job(job.root, shared_data / "digits", root)
    assert found["categories"] == categories
    assert found["cost_usd"] == pytest.approx(spent(job))
    assert found["agreement"]["metric"] == "accuracy"
    assert 0.8 < found["agreement"]["mean"] <= 1
    truth = truth_file(tmp_path / "truth.jsonl", images, folder=True)
    ended = runs.cli("run", "--run", root, "--annotator", "synthetic", "--truth", truth)
    assert ended.code == 0, ended.err
    assert runs.status(root)["items"]["pool"] == 0


def test_segmentation(tmp_path: Path) -> None:
    images, truth = runs.make_images(tmp_path, 24, "segmentation")
    known = [json.loads(line) for line in truth.read_text().splitlines()]
    pairs = [(images / k["name"], k["payload"]) for k in known]
    pairs[21] = (pairs[21][0], {**pairs[21][1], "regions": []})
    job = gtjobs.Job(tmp_path / "scenes", "segmentation", pairs, ["crate", "drum"])
    for iteration in range(1, 5):
        job.ask(iteration, range(4 * iteration - 4, 4 * iteration))
    job.label(5, range(16, 22))
    job.finish()
    root = tmp_path / "run"
    found = import_job(job.root, images, root, "--attribute", "category")
    assert found["attribute"] == "category-ref"
    assert found["agreement"]["mean"] > 0.8
    assert found["cost_usd"] == pytest.approx(spent(job))
    labels = {label.row: label for label in gtloop.open(root).labels()}
    assert labels[21].payload["regions"] == []
    assert labels[21].confidence == pytest.approx(0.7), "that of the background"
    assert {row for row, label in labels.items() if label.source == "machine"} == set(range(16, 22))
    task = job.task
    assert all(task.error(labels[n].payload, task.parse(pairs[n][1], job.item(n))) < 0.1 for n in range(16, 22))


def test_a_job_without_automated_labelling_that_was_stopped(tmp_path: Path) -> None:
    """It goes by the manifest, has no output manifest, and one object has only labels, no answers."""
    images = tiny(tmp_path, 30)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, range(5))
    job.ask(2, range(5, 12))
    shutil.rmtree(job.root / "annotations/worker-response/iteration-2/11")
    root = tmp_path / "run"
    found = import_job(job.root, tmp_path, root)
    assert found["imported"] == 1
    assert found["items"]["human"] == 12
    status = runs.status(root)
    assert [i["phase"] for i in status["iterations"]] == ["rest", "rest"]
    assert found["items"]["pool"] == 18
    assert runs.cli("status", root).code == 0


def test_the_input_manifest_tells_the_images(tmp_path: Path) -> None:
    """Where nothing else does; its lines are what objects are numbered by."""
    images = tiny(tmp_path, 12)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, [3, 7])
    shutil.rmtree(job.root / "annotations/intermediate")
    manifest = tmp_path / "input.manifest"
    manifest.write_text("".join(json.dumps({"source-ref": job.ref(n)}) + "\r\n" for n in range(12)))
    found = import_job(job.root, tmp_path, tmp_path / "run", "--manifest", manifest)
    assert (found["items"]["human"], found["items"]["pool"]) == (2, 10)
    assert found["agreement"]["count"] == 2, "with the labels of the consolidation's files"
    assert {n for n, r in runs.exported(tmp_path / "run").items() if r["payload"]} == {"tiny_003.png", "tiny_007.png"}


def test_images_are_read_from_the_bucket(tmp_path: Path) -> None:
    """Where no folder is named; the run goes on from there, too."""
    images = tiny(tmp_path, 16)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, [2, 3])
    job.finish()
    root = tmp_path / "run"
    with buckets.serving() as s3:
        s3.bucket("pictures", tmp_path / "images", "raw/images/")
        ended = runs.cli("import", "groundtruth", job.root, "--run", root, "--detector", "stub")
        assert ended.code == 0, ended.err
        assert gtloop.open(root).items.uri[5] == "s3://pictures/raw/images/tiny_005.png"
        ended = runs.cli("run", "--run", root, "--annotator", "synthetic", "--truth", tmp_path / "truth.jsonl")
        assert ended.code == 0, ended.err
    assert runs.status(root)["items"]["pool"] == 0


# ------------------------------------------------------------------------------------------------ faults


def test_damaged_files_are_put_aside_with_reasons(tmp_path: Path) -> None:
    images = tiny(tmp_path, 40)
    job = gtjobs.automated(tmp_path / "crates", "bbox", images, ["crate", "drum"], left=6)
    responses = job.root / "annotations/worker-response"
    some = sorted(job.answers)
    first = next((responses / "iteration-1").iterdir())
    file = next(first.iterdir())
    file.write_text(file.read_text()[:-20])
    whole = next((responses / "iteration-2").iterdir()) / "2019-01-18_23:30:00.json"
    whole.write_text('{"answers": 3}')
    job.write(f"annotations/worker-response/iteration-2/{len(images) + 5}/a.json", "{}")
    job.write("annotations/worker-response/iteration-x/1/a.json", "{}")
    odd = next((responses / "iteration-4").iterdir()) / "2019-01-18_23:00:00.json"
    content = {
        "boundingBox": {
            "boundingBoxes": [{"label": "crate", **PLACE}],
            "inputImageProperties": {"width": 5, "height": 5},
        }
    }
    answers = [
        {"workerId": "w1", "submissionTime": "never", "answerContent": content},
        {"submissionTime": "2019-01-18T23:00:00Z", "answerContent": {}},
        {"workerId": "w2", "submissionTime": "2019-01-18T23:00:00Z", "answerContent": {"a": {}, "b": {}}},
        {"workerId": "w3", "submissionTime": "2019-01-18T23:00:00Z", "answerContent": None},
    ]
    odd.write_text(json.dumps({"answers": answers}))
    auto = next((job.root / "activelearning").rglob("5/*/auto_annotator_output.txt"))
    auto.write_text(auto.read_text() + "9999 {}\nnonsense\n3 {broken\n")
    job.write("annotations/consolidated-annotation/consolidation-response/iteration-2/broken.json", "[{]")
    output = job.root / "manifests/output/output.manifest"
    output.write_text(output.read_text() + "no json\n" + json.dumps({"source-ref": job.ref(3)}) + '\n{"a": 1}\n')
    root = tmp_path / "run"
    found = import_job(job.root, tmp_path, root)
    lines = [json.loads(line) for line in (root / "import.refused.jsonl").read_text().splitlines()]
    assert len(lines) == found["refused"] >= 12
    reasons = " | ".join(f"{line['where']}: {line['why']}" for line in lines)
    for text in (
        f"{file.name}: it is not JSON, or not all of it is there",
        f"{whole.name}: it is no JSON object with a list",
        "no object of that number",
        "iteration-x: its name is no iteration-N",
        "w1: it was drawn on a picture of 5 x 5 pixels",
        "a worker: an answer has no workerId",
        "w2: answerContent has 2 elements",
        "consolidation-response/iteration-2/broken.json: it is not JSON",
        "line 41: is not JSON",
        "line 42: s3://pictures/raw/images/tiny_003.png is there already, in line 4",
        "line 43: it has no source-ref",
    ):
        assert text in reasons, f"{text}\n{reasons}"
    row = int(first.name)
    run = gtloop.open(root)
    assert run.state.status[row] == HUMAN, "its label is there, though nobody can read its answers"
    assert run.state.imported() == 1
    declined = [a for _, _, given in run.answers() for a in given if a.outcome == "declined"]
    assert [a.worker for a in declined] == ["w3"]
    assert declined[0].price == 0
    assert len(some) == found["items"]["human"]
    again = runs.cli("import", "groundtruth", job.root, "--run", root)
    assert f"{found['refused']} entries could not be used" in again.out


def test_iterations_that_are_not_there_are_named(tmp_path: Path) -> None:
    images = tiny(tmp_path, 40)
    job = gtjobs.automated(tmp_path / "crates", "bbox", images, ["crate", "drum"], left=6)
    for n in (4, 7, 8):
        shutil.rmtree(job.root / f"annotations/worker-response/iteration-{n}")
    root = tmp_path / "run"
    found = import_job(job.root, tmp_path, root)
    called = {"5": 4, "6": 5, "9": 6, "10": 7, "11": 8, "12": 9}
    assert found["iterations"] == {"lacking": [[4, 4], [7, 8]], "called": called}
    reasons = {
        e.event.iteration: e.event.reason for e in gtloop.open(root).events() if e.event.type == "batch-committed"
    }
    assert all(reasons[run] == f"iteration {n} of the job" for n, run in called.items() if n != "12")
    again = runs.cli("import", "groundtruth", job.root, "--run", root)
    assert (
        "the folder has nothing of iteration 4, 7 to 8 of the job: "
        "iterations 5 to 12 of the job are 4 to 9 in the run\n" in again.out
    )


def test_an_empty_label_of_the_machine_is_not_the_least_sure(tmp_path: Path) -> None:
    """An image without boxes has no confidence in the service: it counts as unknown, not as 0."""
    images = tiny(tmp_path, 20)
    images[19] = (images[19][0], {"boxes": []})
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.ask(1, range(8))
    job.label(2, [18, 19])
    job.finish()
    import_job(job.root, tmp_path, tmp_path / "run")
    sure = {
        label.row: label.confidence for label in gtloop.open(tmp_path / "run").labels() if label.source == "machine"
    }
    assert sure == {18: pytest.approx(0.7), 19: 1.0}


def test_an_export_has_the_attribute_of_the_job(imported: Path, raccoons: gtjobs.Job, tmp_path: Path) -> None:
    out = tmp_path / "out.manifest"
    ended = runs.cli("export", imported, "--format", "groundtruth", "--out", out)
    assert ended.code == 0, ended.err
    assert "-o formats.groundtruth.integers=true" in ended.err + ended.out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    labelled = [line for line in lines if "category" in line]
    assert len(labelled) == len(raccoons.answers) + len(raccoons.auto)
    assert all("category-metadata" in line for line in labelled)
    assert not any("label" in line for line in lines)
    ended = runs.cli(
        "export", imported, "--format", "groundtruth", "--out", out, "-o", "formats.groundtruth.integers=true"
    )
    assert ended.code == 0, ended.err
    assert "integers" not in ended.err + ended.out


def test_lost_images_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Nothing is learned from what can't be read; where that is all there is, nothing is paid before it is said."""
    images = tiny(tmp_path, 60)
    job = gtjobs.automated(tmp_path / "crates", "bbox", images, ["crate", "drum"], left=30)
    labelled = sorted(n for n in job.answers if n not in job.failed)
    lost = [images[n][0] for n in labelled[:3]] + [images[n][0] for n in range(60) if n not in job.labels][:1]
    for path in lost:
        path.rename(path.with_suffix(".away"))
    root = tmp_path / "run"
    sizes = ("-o", "sizes.probe=5", "-o", "sizes.validation=5", "-o", "sizes.look_at=35")
    found = import_job(job.root, tmp_path, root, *sizes)
    names = sorted(p.name for p in lost)
    assert found["unreadable"]["count"] == 4
    assert found["unreadable"]["first"] == names[:3]
    again = runs.cli("import", "groundtruth", job.root, "--run", root)
    assert f"4 of 60 images can't be found or read: {', '.join(names[:3])}, ... (" in again.out
    assert found["unreadable"]["looked_for"] == str(min(lost)), "beside the others"
    assert f"(looked for at {min(lost)})" in again.out
    copy = shutil.copytree(root, tmp_path / "copy")
    go_on = ("--annotator", "synthetic", "--truth", tmp_path / "truth.jsonl")
    ended = runs.cli("run", "--run", root, *go_on)
    assert ended.code == 0, ended.err
    assert "3 unreadable images left out of training, first " in ended.err
    after = runs.exported(root)
    assert all(after[images[n][0].name]["source"] == "human" for n in labelled[:3]), "labels stay"
    assert sorted(name for name, row in after.items() if row["status"] == "quarantined") == [lost[3].name]
    for n in labelled[3:]:
        images[n][0].rename(images[n][0].with_suffix(".away"))
    refused = runs.cli("run", "--run", copy, *go_on)
    first = images[labelled[0]][0].name
    assert f"none of {len(labelled)} images can be read any more, for example {first} (" in refused.error
    assert runs.status(copy)["cost_usd"]["total"] == pytest.approx(found["cost_usd"])
    for n in labelled:
        images[n][0].with_suffix(".away").rename(images[n][0])
    ended = runs.cli("run", "--run", copy, *go_on)
    assert ended.code == 0, ended.err
    assert "left out of training" not in ended.err


def _killed(job: Path, images: Path, root: Path) -> None:
    from gtloop_plugins.formats.groundtruth.jobs.replay import Replay

    batch = Replay._batch

    def dies(self: Replay, number: int, objects: Any) -> None:
        batch(self, number, objects)
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    Replay._batch = dies  # type: ignore[method-assign]
    import_job(job, images, root)


def test_a_killed_import_starts_clean(tmp_path: Path) -> None:
    images = tiny(tmp_path, 40)
    job = gtjobs.automated(tmp_path / "crates", "bbox", images, ["crate", "drum"], left=6)
    root = tmp_path / "run"
    child = multiprocessing.get_context("spawn").Process(target=_killed, args=(job.root, tmp_path, root))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert not root.exists()
    assert any((tmp_path / ".run.importing").iterdir())
    found = import_job(job.root, tmp_path, root)
    assert found["cost_usd"] == pytest.approx(spent(job))
    assert not (tmp_path / ".run.importing").exists()


def test_what_can_not_be_read_is_one_line(tmp_path: Path, shared_data: Path) -> None:
    def error(*more: object) -> str:
        return runs.cli("import", "groundtruth", *more, "--run", tmp_path / "run").error

    assert "is no job's folder" in error(tmp_path)
    images = tiny(tmp_path, 12)
    job = gtjobs.Job(tmp_path / "crates", "bbox", images, ["crate", "drum"])
    job.write("manifests/note", "")
    assert "has no manifest" in error(job.root)
    job.ask(1, range(4))
    job.finish()
    assert "none of 12 images can be read" in error(job.root, "--images", shared_data / "digits")
    assert "there is no such folder" in error(job.root, "--images", tmp_path / "nowhere")
    assert "choose" in error(job.root, "--images", tmp_path, "--task", "text")
    run = ("--images", tmp_path)
    boxes = f"the labels of {job.root} are boxes; give --task bbox"
    assert error(job.root, *run, "--task", "classification") == f"--task classification: {boxes}"
    foo = error(job.root, *run, "--attribute", "foo")
    assert foo == f"--attribute foo: the labels of {job.root} are under category (boxes); give one of these"
    output = job.root / "manifests/output/output.manifest"
    whole = output.read_text()
    output.write_text(whole.replace("category-metadata", "other-metadata", 1))
    assert "labels under category and other; choose one with --attribute" in error(job.root, "--images", tmp_path)
    output.write_text(whole.replace('"human-annotated"', '"adjustment-status": "adjusted", "human-annotated"'))
    assert "adjusts labels of another job" in error(job.root, "--images", tmp_path)
    shutil.rmtree(job.root / "annotations")
    output.write_text(whole.replace("object-detection", "text-span"))
    assert "is about category (groundtruth/text-span)" in error(job.root, "--images", tmp_path)
    assert not (tmp_path / "run").exists()


def test_answers_lie_in_the_frame_that_people_saw() -> None:
    task = BBox(BBox.Options(), Context(categories=("crate",)))
    turned = Item(row=0, id="i", name="a.jpg", uri="a.jpg", width=100, height=60, orientation=6)
    boxes = {"boxes": [{"category": "crate", "xyxy": [10.0, 20.0, 30.0, 50.0]}]}

    def placed(size: tuple[int, int]) -> list[float]:
        found = framed(Said("w", "label", boxes, 0.0, "", size), task, turned, "stored")
        assert found is not None
        xyxy: list[float] = found["boxes"][0]["xyxy"]
        return xyxy

    assert placed((60, 100)) == [10, 20, 30, 50], "as displayed"
    assert placed((100, 60)) == [10, 10, 40, 30], "as stored"
