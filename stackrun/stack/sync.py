"""What has to be sent to a container so that it has the files of a `develop.watch` rule: values in, values out.

A rule's folder is a Tree, looked at anew at each change.  What a container was given is another one; the difference between the two is
what is sent and removed.  So a container that is replaced gets everything it lacks, whoever replaced it, and nothing is sent twice.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from stackrun.image.ignore import Ignore, parsed

if TYPE_CHECKING:
    from stackrun.compose.model import Hook, Project, Service, Trigger


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: `mode` permission bits, `content` a file's digest or where a link leads."""

    kind: Kind
    mode: int = 0
    content: str = ""


Tree = Mapping[str, Item]
"""Path relative to the rule's (`.` for that itself) → what is there."""
NOTHING: Tree = {}


LEAVES_NOTHING_OUT = Ignore(())


@dataclass(frozen=True, slots=True)
class Rule:
    """One `develop.watch` rule: `path` absolute on this machine, `index` its place in the service's list.

    A build context is one of its own: its index is -1, its action `build`.
    """

    service: str
    index: int
    path: str
    action: str
    target: str = ""
    command: Hook | None = None
    initial: bool = False
    include: Ignore = LEAVES_NOTHING_OUT
    ignore: Ignore = LEAVES_NOTHING_OUT
    context: str = ""
    """The build context, whose .dockerignore counts below it; empty without one."""
    context_ignore: Ignore = LEAVES_NOTHING_OUT

    @property
    def key(self) -> str:
        return f"{self.service}.develop.watch[{self.index}]" if self.index >= 0 else f"{self.service}.build"

    @property
    def sends(self) -> bool:
        return self.action.startswith("sync")

    @property
    def rebuilds(self) -> bool:
        """What changes is taken in by a build; nothing is delivered to containers."""
        return self.action == "rebuild"

    def leaves_out(self, path: str) -> bool:
        """A path relative to the rule's."""
        return EPHEMERAL.matches(path) or self.ignore.matches(path) or self.context_ignore.matches(self._in_context(path))

    def closes(self, folder: str) -> bool:
        """Nothing below that folder is looked at."""
        return EPHEMERAL.closes(folder) or self.ignore.closes(folder) or self.context_ignore.closes(self._in_context(folder))

    def takes_in(self, path: str) -> bool:
        return not self.include or self.include.matches(path)

    def _in_context(self, path: str) -> str:
        whole = posixpath.normpath(f"{self.path}/{path}")
        return whole[len(self.context) :].lstrip("/") if self.context and whole.startswith(f"{self.context}/") else ""

    def inside(self, path: str) -> str:
        """Where a path relative to the rule's is in the container."""
        return posixpath.normpath(posixpath.join("/", self.target, path))


EPHEMERAL = Ignore(
    (
        "**/.git", "**/.hg", "**/.svn",
        "**/*~", "**/4913", "**/.*.sw?", "**/.*.un~",
        "**/.#*", "**/#*#",
        "**/.*.kate-swp", "**/.idea", "**/*___jb_old___", "**/*___jb_tmp___",
        "**/.goutputstream-*", "**/.DS_Store",
    )
)  # fmt: skip
"""What version control and editors (Vim, Emacs, Kate, those of JetBrains, GNOME's) keep beside the files; never part of a program."""


@dataclass(frozen=True, slots=True)
class Change:
    """`sent`: paths in their order, folders first; `removed`: the topmost alone, since everything below goes along."""

    sent: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sent or self.removed)


@dataclass(frozen=True, slots=True)
class Upload:
    """`path` below the folder `root` here (`.`: that itself), and where it goes in the container."""

    root: str
    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one container gets, in this order: `removals`, `uploads`, then a restart or the commands."""

    uploads: tuple[Upload, ...] = ()
    removals: tuple[str, ...] = ()
    restarts: bool = False
    commands: tuple[Hook, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.uploads or self.removals or self.restarts or self.commands)

    def summary(self) -> str:
        """`3 files, 1 removed, restart`."""
        words = [f"{len(self.uploads)} file{'' if len(self.uploads) == 1 else 's'}"] if self.uploads else []
        words += [f"{len(self.removals)} removed"] if self.removals else []
        words += ["restart"] if self.restarts else []
        words += [f"exec {' '.join(one.command)}" for one in self.commands]
        return ", ".join(words)


def difference(given: Tree, now: Tree) -> Change:
    """A folder whose kind changed is removed first; one that merely has another mode is sent as itself.

    When the rule's own folder goes (a checkout, a mount that is lifted), what it had goes from the target, not the target with all else.
    """
    gone = [path for path in given if path not in now or (given[path].kind is Kind.FOLDER) != (now[path].kind is Kind.FOLDER)]
    if "." not in now and "." in given and given["."].kind is Kind.FOLDER:
        gone.remove(".")
    sent = [path for path in now if given.get(path) != now[path]]
    return Change(tuple(sorted(sent, key=_folders_first)), _topmost(gone))


def _folders_first(path: str) -> tuple[str, ...]:
    """A folder before what is in it."""
    return tuple(part for part in path.split("/") if part != ".")


def _topmost(paths: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for path in sorted(paths, key=_folders_first):
        if not found or not (found[-1] == "." or path.startswith(f"{found[-1]}/")):
            found.append(path)
    return tuple(found)


def delivery(changes: Sequence[tuple[Rule, Change]]) -> Delivery:
    """For one container, from what changed by each of its service's rules; a command runs once however many rules name it."""
    uploads: dict[str, Upload] = {}
    removals: dict[str, None] = {}
    commands: list[Hook] = []
    for rule, change in changes:
        if not change:
            continue
        if rule.sends:
            removals.update((rule.inside(path), None) for path in change.removed)
            uploads.update((rule.inside(path), Upload(rule.path, path, rule.inside(path))) for path in change.sent)
        if rule.action == "sync+exec" and rule.command and rule.command not in commands:
            commands.append(rule.command)
    restarts = any(change and rule.action in ("restart", "sync+restart") for rule, change in changes)
    return Delivery(tuple(uploads.values()), tuple(removals), restarts, tuple(commands))


def rules_of(project: Project, services: Iterable[str], read: Callable[[str], str]) -> tuple[Rule, ...]:
    """Every rule, in the order of the file; `read` gives a file's text, empty when there is none."""
    chosen = tuple(services) or tuple(project.services)
    found = []
    for name in chosen:
        service = project.services.get(name)
        for index, trigger in enumerate(service.develop if service else ()):
            found.append(_rule(name, index, trigger, service, read))
    return tuple(found)


def _rule(name: str, index: int, trigger: Trigger, service: Service | None, read: Callable[[str], str]) -> Rule:
    context = service.build.context if service and service.build and service.build.context.startswith("/") else ""
    return Rule(
        service=name,
        index=index,
        path=posixpath.normpath(trigger.path),
        action=trigger.action,
        target=trigger.target,
        command=trigger.exec,
        initial=trigger.initial_sync,
        include=Ignore(trigger.include),
        ignore=Ignore(trigger.ignore),
        context=context.rstrip("/"),
        context_ignore=Ignore(parsed(ignore_text(context, _dockerfile(service), read))) if context else LEAVES_NOTHING_OUT,
    )


def _dockerfile(service: Service | None) -> str:
    return (service.build.dockerfile if service and service.build else "") or "Dockerfile"


def ignore_text(context: str, dockerfile: str, read: Callable[[str], str]) -> str:
    """What leaves files out of a build: a Dockerfile's own (`Dockerfile.dockerignore`) goes before the context's, as BuildKit has it.

    `dockerfile` is absolute or relative to the context; empty when it stands in the stack file.
    """
    own = read(posixpath.join(context, f"{dockerfile}.dockerignore")) if dockerfile else ""
    return own or read(f"{context}/.dockerignore")
