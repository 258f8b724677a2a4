"""What MkDocs cannot know by itself: the exercises that there are, the commands, and files that lie beside docs/."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from saccade.cli import app
from saccade.models.catalogue import CATALOGUE
from saccade.recipe import Recipe

# A link to a file: [words](path), with a place in it or without; addresses with a scheme are somebody else's.
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_BESIDE = "beside"  # the site's folder for files of the repository that are no pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The exercises whose pages there are, in their order."""
    folder = Path(config.docs_dir) / "exercises"
    pages = [f"exercises/{page.name}" for page in [folder / "index.md", *sorted(folder.glob("[0-9]-*.md"))]]
    config.nav = [{"Exercises": pages} if "Exercises" in entry else entry for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages that are made from the code, and the files beside docs/ that pages lead to."""
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    files.append(File.generated(config, "reference/recipe.md", content=recipe_page()))
    root = Path(config.docs_dir).parent
    wanted = {
        beside
        for file in files.documentation_pages()
        for target in _LINK.findall(_FENCE.sub("", file.content_string))
        if (beside := _beside(file.src_uri, target[1], root))
    }
    for path in sorted(wanted):
        files.append(File.generated(config, f"{_BESIDE}/{path}.txt", content=(root / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links out of docs/ lead to copies in the site, and no line ends between a number and its percent sign."""
    root, source = Path(config.docs_dir).parent, page.file.src_uri

    def lead(link: re.Match[str]) -> str:
        path = _beside(source, link[2], root)
        if path is None:
            return link[0]
        copy = os.path.relpath(f"{_BESIDE}/{path}.txt", Path(source).parent.as_posix())
        return f"{link[1]}{copy})"

    return _outside_fences(lambda text: re.sub(r"(?<=\d) %", "\u00a0%", _LINK.sub(lead, text)), markdown)


def commands_page() -> str:
    """Every command with its flags, read from the command line itself."""
    group = typer.main.get_command(app)
    parts = ["# Commands", "What `saccade COMMAND --help` says, on one page. Data goes to stdout, all else to stderr."]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        words, _, examples = (command.help or "").partition("Examples:")
        arguments = [p.metavar or p.name.upper() for p in command.params if not _is_flag(p)]
        parts += [
            f"## saccade {name}",
            f"```sh\n{' '.join(['saccade', name, *arguments, '[flags]'])}\n```",
            _plain(words),
        ]
        if examples:
            lines = [line.strip() for line in examples.splitlines() if line.strip()]
            parts.append("```sh\n" + "\n".join(lines) + "\n```")
        given = [p for p in command.params if not _is_flag(p) and p.help]
        parts += [f"`{p.metavar or p.name.upper()}`: {_cell(p.help)}" for p in given]
        parts += _flag_tables([p for p in command.params if _is_flag(p)])
    return "\n\n".join(parts) + "\n"


def recipe_page() -> str:
    """The fields of the recipe: names in YAML files, arguments of `saccade.train`, flags of `saccade train`."""
    parts = [
        "# Recipe",
        "All that a run is asked to do. A field is a line of `recipe.yaml`, an argument of `saccade.train`, and, with "
        "dashes for underscores, a flag of `saccade train`. Where the default is *open*, another field, the network or "
        "the machine decides; the run folder's `recipe.yaml` says how it was decided.",
        "| field | default | what it means |\n| --- | --- | --- |",
    ]
    rows = [
        f"| `{name}` | {'*open*' if field.default is None else f'`{field.default}`'} | {_cell(field.description)} |"
        for name, field in Recipe.model_fields.items()
    ]
    parts[-1] += "\n" + "\n".join(rows)
    return "\n\n".join(parts) + f"\n\nThe catalogue has {len(CATALOGUE)} networks: [models](../models.md).\n"


def _flag_tables(flags: list[Any]) -> list[str]:
    """A table for each group of flags, under its name."""
    groups: dict[str, list[str]] = {}
    for flag in flags:
        names = ", ".join(f"`{name}`" for name in (*flag.opts, *flag.secondary_opts))
        default = "" if flag.default in (None, False, "", ()) else f" Default: `{flag.default}`."
        groups.setdefault(flag.rich_help_panel or "Options", []).append(f"| {names} | {_cell(flag.help)}{default} |")
    return [
        f"| {group.lower()} | what it does |\n| --- | --- |\n" + "\n".join(rows)
        for group, rows in groups.items()
        if rows
    ]


def _is_flag(parameter: Any) -> bool:
    return any(name.startswith("-") for name in parameter.opts)


def _plain(words: str) -> str:
    """Without the marks of a terminal."""
    return re.sub(r"\[/?bold\]", "", words).strip()


def _cell(words: str | None) -> str:
    return _plain(words or "").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _beside(source: str, target: str, root: Path) -> str | None:
    """The path in the repository of a file that a page in docs/ leads to and that lies outside docs/; else None."""
    path = os.path.normpath(Path("docs", source).parent / target)
    is_outside = not path.startswith(("docs/", "..")) and path != "docs"
    return Path(path).as_posix() if is_outside and (root / path).is_file() else None


def _outside_fences(change: Callable[[str], str], markdown: str) -> str:
    """Everything changed that does not stand in a block of code."""
    parts: list[str] = []
    end = 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
