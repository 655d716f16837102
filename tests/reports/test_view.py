"""The page of many runs: which runs there are, what is said of them, and what never is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from nnw_onnx.errors import RunError
from nnw_onnx.records import CostRecord, Environment, InjectionRecord, TrialRecord
from nnw_onnx.reports.documents import write_pages
from nnw_onnx.reports.view import Gallery, finding, gallery, opening, records
from nnw_onnx.runs.store import Store
from nnw_onnx.text import harmless

from ..fuzz.run_folders import TEXTS, write_run  # noqa: TID252 - shared by several rooms' tests
from ..measures.made import invented  # noqa: TID252 - likewise

SEED = 918273645
NASTY = "".join(t for t in TEXTS if len(t) < 100)


def a_run(folder: Path, **changes):
    """Records of a small evaluation, in a run folder."""
    made = invented(2, 3, 2, 2, 20)
    plan, *rest = made.parts
    write_run(folder, plan.model_copy(update={"seed": SEED, **changes}), *rest)
    return made


@pytest.fixture
def runs(tmp_path):
    a_run(tmp_path / "first", title="The first")
    a_run(tmp_path / "deeper" / "second", title="The second")
    return tmp_path


def told(content: bytes) -> list:
    """What a script hands over."""
    text = content.decode()
    function, _, rest = text.partition("(")
    assert re.fullmatch(r"nnwView\.(runs|run|records)", function)
    assert rest.endswith(");\n")
    return json.loads(f"[{rest[:-3]}]")


def listed(folder: Path) -> dict[str, dict]:
    made = Gallery(folder, live=True)
    made.refresh()
    (found,) = told(dict(made.files())["data/runs.js"])
    return {entry["name"]: entry for entry in found}


def pages(folder: Path) -> dict[str, bytes]:
    made = Gallery(folder, live=False)
    made.refresh()
    return dict(made.files())


def test_runs_are_found_at_any_depth_but_not_behind_links_or_in_hidden_folders(runs):
    a_run(runs / ".hidden" / "third")
    a_run(runs / "a" / "b" / "c" / "d" / "too-deep")
    (runs / "link").symlink_to(runs / "first")
    assert {p.name for p in finding.find(runs)} == {"first", "deeper/second"}


def test_a_run_folder_is_its_own_list(runs):
    assert [p.name for p in finding.find(runs / "first")] == ["first"]


def test_keys_of_runs_are_addresses_and_differ_where_names_do(tmp_path):
    for name in ("a b", "a-b", "A B", "ä"):
        a_run(tmp_path / name)
    keys = [place.key for place in finding.find(tmp_path)]
    assert len(set(keys)) == 4
    assert all(re.fullmatch("[a-z0-9-]+", key) for key in keys)
    assert keys == [place.key for place in finding.find(tmp_path)]


def test_the_last_written_run_comes_first(runs):
    for path in (runs / "first").iterdir():
        os.utime(path, (10**9, 10**9))
    assert [p.name for p in finding.find(runs)] == ["deeper/second", "first"]
    assert finding.find(runs)[1].changed == 10**9


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_runs_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="expected a folder with runs, got no") as error:
        finding.find(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_of_too_many_folders_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "_MOST_FOLDERS", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    with pytest.raises(RunError, match="expected at most 2 folders to look through, got more"):
        finding.find(tmp_path)


def test_a_folder_that_may_not_be_read_is_passed_over(runs, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(finding.os, "scandir", refuse)
    with pytest.raises(RunError, match=r"got no plan\.json"):
        finding.find(runs)


def test_the_list_says_what_was_evaluated_and_found(runs):
    found = listed(runs)["first"]
    assert found["title"] == "The first"
    assert len(found["networks"]) == found["payloads"] == 2
    assert found["data"]
    assert found["qualities"][0]["value"].endswith("%")
    assert len(found["settings"]) == 3
    for technology in found["technologies"]:
        assert re.fullmatch(r"\d+ of \d+ (survived|noticed)", technology["survived"]["text"])
        assert len(technology["cells"]) == 3
    assert found["verdicts"]


def test_a_sheet_has_every_cell_with_every_quantity_and_its_limits(runs):
    key = listed(runs)["first"]["key"]
    _, sheet = told(pages(runs)[f"data/{key}.js"])
    heads = [head for head, *_ in sheet["levels"]]
    for technology in sheet["technologies"]:
        assert len(technology["cells"]) == len(sheet["settings"]) == 3
        for cell in technology["cells"].values():
            assert cell["levels"]
            assert all(len(level["items"]) == len(heads) for level in cell["levels"])
        (unmodified,) = technology["unmodified"]
        assert int(unmodified["items"][heads.index("tested")]) == 4
        assert {title for title, _ in technology["facts"]} >= {"Technology", "Imperceptibility"}
    limits = [
        item
        for technology in sheet["technologies"]
        for cell in technology["cells"].values()
        for level in cell["levels"]
        for item in level["items"]
        if isinstance(item, list) and item[0] is not None
    ]
    assert any(" to " in between for _, between in limits)


def test_every_claim_on_every_network_is_a_record(runs):
    key = listed(runs)["first"]["key"]
    run = Store(runs / "first")
    trials = run.records(TrialRecord)
    injections = {i.identity: i for i in run.records(InjectionRecord)}
    for technology in (0, 1):
        _, _, found = told(pages(runs)[f"data/{key}/{technology}.js"])
        heads = [head for head, *_ in found["heads"]]
        number, evidence = heads.index("number"), heads.index("log10_p")
        shown = sorted(
            int(r[number]) for rows in found["rows"].values() for r in rows if r[evidence]
        )
        expected = sorted(
            i
            for i, trial in enumerate(trials, 1)
            for v in trial.verdicts
            if injections[v.injection].technology == technology and v.log10_p is not None
        )
        assert shown == expected
        assert found["whole"]


def test_a_record_says_what_the_file_says(runs):
    key = listed(runs)["first"]["key"]
    trials = Store(runs / "first").records(TrialRecord)
    _, _, found = told(pages(runs)[f"data/{key}/0.js"])
    heads = [head for head, *_ in found["heads"]]
    row = dict(zip(heads, found["rows"][""][0], strict=True))
    trial = trials[int(row["number"]) - 1]
    (verdict,) = trial.verdicts
    assert row["answer"] == ("yes" if verdict.detected else "no")
    assert float(row["log10_p"]) == pytest.approx(-verdict.log10_p, abs=0.05)
    assert (int(row["errors"]), int(row["symbols"])) == (verdict.errors, verdict.symbols)
    assert float(row["after"]) == pytest.approx(100 * next(iter(trial.quality.values())), abs=0.005)


def test_records_are_bounded(runs, monkeypatch):
    monkeypatch.setattr(records, "MOST_ROWS", 5)
    key = listed(runs)["first"]["key"]
    _, _, found = told(pages(runs)[f"data/{key}/0.js"])
    assert sum(map(len, found["rows"].values())) == 5
    assert not found["whole"]


def rewritten(path: Path, change) -> None:
    lines = [json.dumps(change(json.loads(line))) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def test_nothing_is_told_that_keys_follow_from(runs):
    folder, hidden = runs / "first", [str(SEED), "of-the-evaluation", "a-commitment", "a-digest"]
    (folder / "keys" / "x.npz").write_bytes(b"secret")
    rewritten(
        folder / "plan.json",
        lambda plan: {
            **plan,
            "evaluation": {"seed": SEED, "title": "of-the-evaluation"},
            "evaluation_sha256": "a-digest",
        },
    )
    rewritten(folder / "injections.jsonl", lambda made: {**made, "commitment": "a-commitment"})
    found = pages(runs)
    assert not any(name.endswith((".npz", ".json", ".jsonl", ".onnx")) for name in found)
    every = b"\n".join(found.values()).decode()
    assert not [word for word in [*hidden, str(runs)] if word in every]
    identities = [i.identity for i in Store(folder).records(InjectionRecord)]
    values = {json.dumps(i) for i in identities}
    assert not [v for v in values if f":{v}" in every or f"[{v}" in every]


def test_what_runs_say_commands_neither_page_nor_script(runs):
    folder = runs / "first"
    rewritten(
        folder / "plan.json",
        lambda plan: {
            **plan,
            "title": NASTY,
            "networks": [{**n, "name": f"{NASTY}{n['index']}"} for n in plan["networks"]],
            "settings": [{**s, "label": f"{NASTY}{s['index']}"} for s in plan["settings"]],
            "technologies": [{**t, "label": f"{NASTY}{t['index']}"} for t in plan["technologies"]],
        },
    )
    rewritten(folder / "records.jsonl", lambda trial: {**trial, "reason": NASTY})
    found = pages(runs)
    entry = listed(runs)["first"]
    assert entry["title"] == harmless(NASTY)
    for name, content in found.items():
        text = content.decode()
        if name.startswith("data/"):
            assert "<" not in text
            told(content)
        assert not [c for c in text if c != "\n" and harmless(c) != c], name


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("plan.json", "{", "expected a record"),
        (
            "plan.json",
            '{"schema_version": 1}',
            "expected a run folder of form 2, got one of form 1",
        ),
        ("records.jsonl", "{}\n", "records.jsonl, line 1: expected a record"),
        ("environment.json", "[]", "environment.json, line 1: expected a record"),
    ],
)
def test_a_damaged_run_is_listed_with_its_reason(runs, name, content, reason):
    (runs / "first" / name).write_text(content)
    found = listed(runs)
    assert reason in found["first"]["reason"]
    assert "\n" not in found["first"]["reason"]
    assert str(runs) not in found["first"]["reason"]
    assert "reason" not in found["deeper/second"]


def test_a_run_with_a_link_or_a_pipe_is_not_read(runs):
    (runs / "first" / "records.jsonl").unlink()
    (runs / "first" / "records.jsonl").symlink_to("/dev/zero")
    assert "got a link" in listed(runs)["first"]["reason"]


def test_records_that_do_not_fit_one_another_damage_their_run_alone(runs, monkeypatch):
    real = gallery.opened

    def opened(place):
        return 1 // (place.name != "first") and real(place)

    monkeypatch.setattr(gallery, "opened", opened)
    found = listed(runs)
    assert found["first"]["reason"] == (
        "expected records that fit one another, got others; start a new run"
    )
    assert "reason" not in found["deeper/second"]


def test_a_record_of_a_network_that_is_not_planned_is_shown(runs):
    rewritten(runs / "first" / "records.jsonl", lambda trial: {**trial, "network": 99})
    entry = listed(runs)["first"]
    assert "reason" not in entry
    assert b'"network 99"' in pages(runs)[f"data/{entry['key']}/0.js"]


def test_names_that_look_alike_have_keys_of_their_own(tmp_path):
    for name in ("a\x1b", r"a\x1b"):
        a_run(tmp_path / name)
    assert len({place.key for place in finding.find(tmp_path)}) == 2


def test_a_run_that_cannot_be_read_is_told_without_its_path(runs, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(gallery, "opened", refuse)
    assert listed(runs)["first"]["reason"] == (
        "expected a run that can be read, got: Permission denied"
    )


def test_huge_runs_are_not_read(runs, monkeypatch):
    monkeypatch.setattr(opening, "MOST_BYTES", 1000)
    assert "expected at most 1,000 bytes of records, got" in listed(runs)["first"]["reason"]
    monkeypatch.undo()
    monkeypatch.setattr(opening, "MOST_POINTS", 3)
    reason = listed(runs)["first"]["reason"]
    assert "expected at most 3 technologies x settings, got" in reason


def test_of_very_many_runs_the_last_written_are_read(runs, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_RUNS", 1)
    found = list(listed(runs).values())
    assert "reason" not in found[0]
    assert found[1]["reason"] == "not read: more than 1 runs; look at a folder with fewer"


def test_only_runs_that_are_new_or_changed_are_read_again(runs, monkeypatch):
    read = []
    real = gallery.opened
    monkeypatch.setattr(gallery, "opened", lambda place: (read.append(place.name), real(place))[1])
    made = Gallery(runs, live=True)
    assert made.refresh() == 2
    assert made.refresh() == 2
    assert sorted(read) == ["deeper/second", "first"]
    read.clear()
    rewritten(runs / "first" / "plan.json", lambda plan: {**plan, "title": "Another"})
    a_run(runs / "third")
    assert made.refresh() == 3
    assert sorted(read) == ["first", "third"]
    assert "Another" in made.file("data/runs.js").decode()


def test_a_run_that_is_gone_is_forgotten(runs):
    made = Gallery(runs, live=True)
    made.refresh()
    key = next(p.key for p in finding.find(runs) if p.name == "first")
    assert made.file(f"data/{key}.js")
    for path in sorted((runs / "first").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert b"The first" not in made.file("data/runs.js")
    assert made.file(f"data/{key}.js") is None


def test_files_that_memory_has_no_room_for_are_made_again(runs, monkeypatch):
    kept = pages(runs)
    monkeypatch.setattr(gallery, "_MOST_KEPT", 0)
    assert pages(runs) == kept


def test_how_far_it_is_is_told(runs):
    told_of = []
    Gallery(runs, live=False).refresh(lambda done, of: told_of.append((done, of)))
    assert told_of == [(1, 2), (2, 2)]


def test_the_same_runs_give_the_same_page(runs):
    assert pages(runs) == pages(runs)


def test_the_page_runs_its_own_script_alone_and_fetches_nothing(runs):
    found = pages(runs)
    page = found["index.html"].decode()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in page
    assert re.findall(r"<script([^>]*)>(.*?)</script>", page) == [(' defer src="view.js"', "")]
    assert not re.search(r" on\w+=| style=", page)
    for name in ("index.html", "view.css", "view.js"):
        elsewhere = re.findall(r"https?://[^\"' ]+", found[name].decode())
        assert set(elsewhere) <= {"http://www.w3.org/2000/svg"}, name
    script = found["view.js"].decode()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|fetch\(", script
    )
    assert not re.search(r"@import|url\((?!#)", found["view.css"].decode())


def test_a_page_is_written_and_stale_files_of_it_are_removed(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "deep" / "page"
    made = Gallery(runs, live=False)
    made.refresh()
    first = write_pages(made.files(), out, force=False)
    assert first[0] == out / "index.html"
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in first} == dict(made.files())
    for path in sorted((runs / "first").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    made.refresh()
    second = write_pages(made.files(), out, force=True)
    assert {p for p in out.rglob("*") if p.is_file()} == set(second) < set(first)
    assert len([p for p in (out / "data").iterdir() if p.is_dir()]) == 1


def test_a_page_is_never_written_over_anything_else(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    files = [("index.html", b"x")]
    write_pages(files, out, force=False)
    with pytest.raises(RunError, match="got one with a page; give another with --out, or --force"):
        write_pages(files, out, force=False)
    (out / "data").mkdir()
    (out / "data" / "thesis.tex").write_text("years")
    with pytest.raises(
        RunError, match="expected a new or empty folder, or one of 'nnw view --out'"
    ):
        write_pages(files, out, force=True)
    (out / "data" / "thesis.tex").unlink()
    (out / "data" / "x.js").symlink_to(out / "index.html")
    with pytest.raises(RunError, match="expected plain files and folders, got a link"):
        write_pages(files, out, force=True)
    with pytest.raises(RunError, match="expected a folder, got a file"):
        write_pages(files, out / "index.html", force=True)


def test_runs_without_costs_and_environment_are_shown(tmp_path):
    made = a_run(tmp_path / "run")
    (tmp_path / "run" / "costs.jsonl").unlink(missing_ok=True)
    (tmp_path / "run" / "environment.json").unlink(missing_ok=True)
    assert any(isinstance(part, Environment) for part in made.parts)
    assert Store(tmp_path / "run").records(CostRecord) == []
    assert "reason" not in listed(tmp_path)["run"]
