"""The documentation tells the truth: its code runs, its command lines are what the commands accept, its links lead
somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli.main import app
from janus_bench.conformance import check_detector
from janus_bench.plugins import detector_groups, load_detector, load_detectors, protocols
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "examples" / "plugin" / "README.md",
]
TYPED = [page for page in PAGES if page.name != "reference.md"]  # that one is made of the commands themselves
TEXTS = [*TYPED, ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / "benchmarks").glob("*.py"))]
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
JANUS_BENCH: Any = typer.main.get_command(app)


def test_the_page_of_detectors_says_what_they_declare():
    page = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
    for group, names in detector_groups().items():
        assert group == "all" or f"| `{group}` | {', '.join(f'`{name}`' for name in names)} |" in page
    for detector in load_detectors()[0]:
        declared = detector.capabilities
        groups, inputs = (", ".join(sorted(column)) for column in (declared.groups, declared.inputs))
        assert f"| `{detector.name}` | {groups} | {declared.provenance} | {inputs or 'nothing'} |" in page


@pytest.mark.parametrize("page", ["README.md", "docs/writing-a-detector.md", "docs/tutorial.md"])
def test_the_detector_of_the_page_is_a_file_that_passes_the_check(page: str, tmp_path: Path):
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(source)
    results = check_detector(load_detector(f"{tmp_path}/mine.py").factory)
    assert len(results) > 10
    assert [result for result in results if result.status == "failed"] == []


# -- command lines -----------------------------------------------------------------------------------------------------


def text_of(page: Path) -> str:
    """A page, or what a script says of itself."""
    text = page.read_text()
    return ast.get_docstring(ast.parse(text)) or "" if page.suffix == ".py" else text


def paragraphs(text: str) -> list[str]:
    """With fenced code indented, as other code is."""
    blocks = text.replace("\\\n", " ").split("```")
    blocks[1::2] = [re.sub(r"^", "    ", block, flags=re.MULTILINE) for block in blocks[1::2]]
    return re.split(r"\n\s*\n", "\n\n".join(blocks))


def pieces(paragraph: str) -> Iterator[tuple[str, bool]]:
    """The commands of a paragraph, and whether one is a line to type (True) or a mention in a sentence, which may leave
    arguments out."""
    for line in re.findall(r"^(?:    |\t) *(.*?)(?:   +.*| +#.*)?$", paragraph, flags=re.MULTILINE):
        if found := re.search(r"(?:^|[\s/])((?:janus-bench|python|make) .*)", re.sub(r"\$+\([^)]*\)/?", "X/", line)):
            yield re.split(r" (?:\|\|?|&&|>) |;", found[1])[0], True
    for mention in re.findall(r"(?<!`)`+([^`]+)`+", paragraph):
        yield " ".join(mention.split()), False


def leaves(command: Any) -> list[Any]:
    return (
        [leaf for sub in command.commands.values() for leaf in leaves(sub)]
        if hasattr(command, "commands")
        else [command]
    )


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def options_of_script(file: Path) -> set[str]:
    return set(re.findall(r'"(--[a-z-]+)"', file.read_text()))


ANY_OPTION = set[str]().union(
    *map(options, leaves(JANUS_BENCH)), *map(options_of_script, (ROOT / "benchmarks").glob("*.py"))
)


def wrong(text: str) -> list[str]:
    """What is wrong with the commands in ``text``: those of janus-bench are parsed by the very command, options of
    scripts and targets of make looked up.  An option that stands by itself belongs to the command that its paragraph
    named last, or else to any."""
    found = []
    for paragraph in paragraphs(text):
        known = ANY_OPTION
        for piece, typed in pieces(paragraph):
            words = shlex.split(piece, comments=True) if piece.count("'") % 2 == 0 else piece.split()
            problem = ""
            if words[:1] == ["janus-bench"] or (not typed and len(words) > 1 and words[0] in JANUS_BENCH.commands):
                known, problem = janus_bench(words[words[0] == "janus-bench" :], typed)
            elif words[:1] == ["python"] and (
                script := re.match(r"(?:-m )?(benchmarks|tests)[./](\w+)", " ".join(words[1:]))
            ):
                file = ROOT / script[1] / f"{script[2]}.py"
                file = file if file.exists() else file.with_suffix("") / "__main__.py"
                known = options_of_script(file) if file.exists() else ANY_OPTION
                problem = strange(re.findall(r"--[a-z-]+", piece), known) if file.exists() else "no such script"
            elif words[:1] == ["make"]:
                known, problem = ANY_OPTION, strange([word for word in words[1:] if "=" not in word], TARGETS, "target")
            elif words and words[0].startswith("--"):
                problem = strange(words, known)
            if problem:
                found.append(f"{piece}: {problem}")
    return found


def janus_bench(words: list[str], typed: bool) -> tuple[set[str], str]:
    """The options of the command that a line names, and what that command has against the line."""
    command = JANUS_BENCH
    while hasattr(command, "commands"):
        if not words and not typed:
            return ANY_OPTION, ""
        if words and words[0] in options(command):
            return ANY_OPTION, ""
        if not words or words[0] not in command.commands:
            return ANY_OPTION, f"no such command: {' '.join(words)}"
        command, words = command.commands[words[0]], words[1:]
    known = options(command)
    if not typed:
        return known, strange(words, known)
    try:
        command.make_context(command.name, words)
    except typer.Exit:
        pass
    except Exception as error:  # click's own, wherever this typer has it from
        return known, getattr(error, "message", "") or repr(error)
    return known, ""


def strange(words: Iterable[str], known: Collection[str], kind: str = "option") -> str:
    """Of words that begin like an option (or of targets) those that are not known."""
    unknown = [
        word for word in words if (kind != "option" or re.match(r"--?[a-z]", word)) and word.split("=")[0] not in known
    ]
    return f"no such {kind}: {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_is_one_that_its_command_accepts(page: Path):
    assert wrong(text_of(page)) == []


@pytest.mark.parametrize("command", leaves(JANUS_BENCH), ids=lambda command: command.name)
def test_the_examples_that_help_shows_are_accepted(command: Any):
    examples = re.findall(r"janus-bench .*?(?=    |$)", command.epilog or "", flags=re.MULTILINE)
    assert wrong("".join(f"    {example}\n" for example in examples)) == []


def test_there_are_command_lines_to_check():
    typed = [
        piece
        for page in TEXTS
        for paragraph in paragraphs(text_of(page))
        for piece, typed in pieces(paragraph)
        if typed
    ]
    assert len([piece for piece in typed if piece.startswith("janus-bench")]) > 40
    assert len([piece for piece in typed if piece.startswith("python")]) > 10


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("    janus-bench compare runs --table alerts", "No such option: --table"),  # an option of `leaderboard`
        ("\tHOME=x $(BIN)/janus-bench run --metric auroc", "No such option: --metric"),
        ("```\njanus-bench figure roc --detectors a -o b.svg   # a picture\n```", "Missing"),
        ("    janus-bench data add plant", "Missing"),
        ("    janus-bench data verify a b", "unexpected extra argument"),
        ("    janus-bench run --profile huge", "huge"),
        ("    janus-bench data wash plant", "no such command"),
        ("say `janus-bench merge A B --into C` to join", "no such option: --into"),
        ("say `leaderboard --control`", "no such option: --control"),
        ("`janus-bench compare runs` compares, `--flows-per-day 3` counts", "no such option: --flows-per-day"),
        ("only with `--colour`", "no such option: --colour"),
        ("    python -m benchmarks.coverage --times 3", "no such option: --times"),
        ("    python benchmarks/nothing.py", "no such script"),
        ("say `make tea`", "no such target"),
    ],
)
def test_a_command_line_that_is_wrong_is_found(text: str, because: str):
    (problem,) = wrong(text)
    assert because in problem


def test_a_command_line_that_is_right_is_not_found():
    right = (
        "    janus-bench run --detectors 'janus[sigma=0.6]' --jobs 2    # one\n\n`janus-bench data audit` and "
        "`--format json`, `make test`"
    )
    assert wrong(right) == []


# -- statements and links ----------------------------------------------------------------------------------------------


def test_the_readme_names_the_protocols_that_have_a_target_only_baseline():
    (bullet,) = re.findall(
        r"^- \*\*A target-only baseline.*?(?=^- )", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    with_one, without = bullet.split(" have none")[0].split(" have one")
    for said, has in ((with_one, True), (without, False)):
        named = set(re.findall(r"`([a-z-]+)`", said)) - {"control"}
        assert named == {name for name, protocol in protocols().items() if ("control" in protocol.regimes) == has}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_this_project_that_a_page_names_are_there(page: Path):
    folders = "benchmarks|datasets_registry|detectors|docs|harness|janus_bench|protocols|reports|tests"
    for name in re.findall(rf"`((?:{folders})/[\w/.]+\.\w+)`", page.read_text()):
        # the file that a reader is told to write
        assert (ROOT / name).exists() or name.endswith("/example_net.py"), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
