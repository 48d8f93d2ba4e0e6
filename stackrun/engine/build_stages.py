"""One build from its first step to its image: which stages, which steps, what is taken from the cache.

    state ── key of the next step ──► in the cache? ── yes ──► its layer, its time
                                            └─ no ──► carry out ──► layer ──► into the cache

Runs on the event loop; what blocks goes through `Crew.work`, which waits for it even when the build is cancelled.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ParamSpec, Protocol, TypeVar

from stackrun.api.builds import BuildSpec
from stackrun.api.types import Progress
from stackrun.engine import build_files, build_state
from stackrun.engine.build_mounts import Mounts
from stackrun.engine.build_run import Ground, Runs, command, stubs
from stackrun.engine.build_sources import Tree
from stackrun.engine.build_state import State, comment, digest, nop
from stackrun.engine.build_workspace import Workspace
from stackrun.errors import InvalidArgument, StackrunError, Unsupported
from stackrun.image.arguments import PROXIES, GlobalArguments, platform_arguments
from stackrun.image.assembly import Assembly, Layers
from stackrun.image.buildcache import BuildCache, Step
from stackrun.image.diff import emptied, is_empty, layer_pieces
from stackrun.image.dockerfile import SCRATCH, needed_stages, parse_instruction, stage_named, stage_of_copy
from stackrun.image.imageconfig import apply_instruction
from stackrun.image.instructions import Arg, Copy, Dockerfile, Instruction, Label, Maintainer, Run, Stage, Workdir
from stackrun.image.manifest import parse_platform, this_platform
from stackrun.image.record import ImageRecord
from stackrun.image.substitution import expand

P = ParamSpec("P")
T = TypeVar("T")
SHORT_ID = 12


class Crew(Protocol):
    """What a build asks of the engine around it."""

    workspace: Workspace
    assembly: Assembly
    cache: BuildCache
    runs: Runs
    mounts: Mounts

    def say(self, line: Progress) -> None: ...
    async def say_output(self, text: str) -> None: ...
    def check(self) -> None: ...
    async def work(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def image(self, ref: str, platform: str) -> ImageRecord: ...


class Building:
    """`texts`: the line where an instruction begins → the instruction as it is written."""

    def __init__(self, crew: Crew, spec: BuildSpec, dockerfile: Dockerfile, texts: Mapping[int, str], context: Tree) -> None:
        self._crew = crew
        self._spec = spec
        self._dockerfile = dockerfile
        self._texts = texts
        self._context = context
        self._platform = parse_platform(spec.platform)
        platforms = platform_arguments(str(self._platform), str(this_platform()))
        self._scope = GlobalArguments(dockerfile, spec.arguments, platforms)
        self._order = needed_stages(dockerfile, spec.target, self._scope.values)
        self._states: dict[int, State] = {}
        self._trees: dict[str, Tree] = {}
        self._count = sum(1 + len(dockerfile.stages[index].instructions) for index in self._order) + len(spec.labels)
        self._number = 0

    # --- all of it ---

    async def run(self) -> tuple[State, tuple[str, ...]]:
        """The last stage's state, and the names of build arguments that nothing declared."""
        for index in self._order:
            await self._stage(index)
        state = self._states[self._order[-1]]
        for name, value in sorted(self._spec.labels.items()):
            self._announce(f"LABEL {name}={value}")
            await self._change(state, Label(0, ((_quoted(name), _quoted(value)),)))
            self._tell_id(state)
        return state, self._scope.unused(self._dockerfile)

    async def _stage(self, index: int) -> None:
        stage = self._dockerfile.stages[index]
        self._announce(self._texts.get(stage.line) or f"FROM {stage.base}")
        state = await self._base(index, stage)
        self._states[index] = state
        self._tell_id(state)
        triggers, state.config = _triggers(state.config)
        if triggers:
            plural = "s" if len(triggers) > 1 else ""
            self._crew.say(Progress(stream=f"# Executing {len(triggers)} build trigger{plural}\n"))
            for text in triggers:
                await self._instruction(state, index, parse_instruction(text))
        for instruction in stage.instructions:
            self._announce(self._texts.get(instruction.line, type(instruction).__name__.upper()))
            await self._instruction(state, index, instruction)

    def _announce(self, text: str) -> None:
        self._number += 1
        self._crew.say(Progress(stream=f"Step {self._number}/{self._count} : {text}\n"))

    def _tell_id(self, state: State) -> None:
        if state.id:
            self._crew.say(Progress(stream=f" ---> {state.id.removeprefix('sha256:')[:SHORT_ID]}\n"))

    async def _base(self, index: int, stage: Stage) -> State:
        name, platform = self._scope.base_of(stage), self._scope.platform_of(stage)
        other = stage_named(self._dockerfile, name, before=index)
        if other is not None:
            return build_state.from_stage(self._states[other], self._scope.stage(self._states[other].args))
        args = self._scope.stage()
        if name == SCRATCH:
            return build_state.from_scratch(parse_platform(platform) if platform else self._platform, args)
        image = await self._crew.image(self._spec.contexts.get(name, name), platform or self._spec.platform)
        configuration, layers = await self._crew.work(self._crew.assembly.taken_apart, image)
        return build_state.from_image(image.id, configuration, layers, args)

    # --- one step ---

    async def _instruction(self, state: State, index: int, instruction: Instruction) -> None:
        try:
            match instruction:
                case Run():
                    await self._run(state, index, instruction)
                case Copy():
                    await self._copy(state, index, instruction)
                case Workdir():
                    await self._workdir(state, instruction)
                case Arg():
                    state.args.declare(instruction, state.environment)
                    await self._note(state, nop(state.config, comment(instruction, {}, {})), digest(state.key, "arg", instruction.names))
                case _:
                    await self._change(state, instruction)
        except StackrunError as error:
            if isinstance(error, InvalidArgument) and instruction.line and not error.message.startswith(self._spec.dockerfile):
                error.hint = error.hint or f"{self._spec.dockerfile}:{instruction.line}"
            raise
        self._tell_id(state)

    async def _change(self, state: State, instruction: Instruction) -> None:
        """What changes the configuration alone."""
        before = copy.deepcopy(state.config)
        variables = state.variables()

        def put_in(text: str) -> str:
            return expand(text, variables, self._dockerfile.escape)

        if isinstance(instruction, Maintainer):
            state.document["author"] = instruction.name
        elif not apply_instruction(state.config, instruction, put_in, has_command=state.has_command):
            raise Unsupported(f"the instruction {type(instruction).__name__.upper()} is not supported")
        state.has_command = state.has_command or getattr(instruction, "keyword", "") == "CMD"
        said = nop(state.config, comment(instruction, before, state.config, put_in))
        await self._note(state, said, digest(state.key, "change", said, state.config))

    async def _note(self, state: State, created_by: str, key: str) -> None:
        """A step without a layer: done at once, kept for its time."""
        known = None if self._spec.no_cache else self._crew.cache.find(key)
        if known:
            self._crew.say(Progress(stream=" ---> Using cache\n"))
        created = known.created if known else _now()
        if not known:
            self._crew.cache.add(key, Step(created))
        state.step(created, created_by)
        state.key = key

    def _reused(self, state: State, key: str, created_by: str) -> bool:
        """Takes the step from the cache; False when it must be carried out."""
        known = None if self._spec.no_cache else self._crew.cache.find(key)
        if known is None or (known.layer and not self._crew.assembly.has(known.layer)):
            return False
        self._crew.say(Progress(stream=" ---> Using cache\n"))
        state.step(known.created, created_by, (*state.layers, known.layer) if known.layer else None)
        state.key = digest(key, known.layer.diff_id) if known.layer else key
        return True

    async def _keep(self, state: State, key: str, created_by: str, upper: str) -> None:
        """The upper directory becomes a layer, if there is anything in it."""
        created = _now()
        layers: Layers | None = None
        if not await self._crew.work(is_empty, upper):
            layer = await self._crew.work(self._crew.assembly.add_layer, state.layers, layer_pieces(upper, self._crew.check))
            layers = (*state.layers, layer)
        state.step(created, created_by, layers)
        # What follows stands on this very layer: a command that is carried out again may not do the same.
        state.key = digest(key, layers[-1].diff_id) if layers else key
        step = Step(created, layers[-1], self._crew.assembly.chain_id(layers)) if layers else Step(created)
        self._crew.cache.add(key, step)
        await self._crew.work(self._crew.cache.save)

    # --- steps with files ---

    async def _run(self, state: State, index: int, run: Run) -> None:
        if run.security == "insecure":
            raise Unsupported("RUN --security=insecure is not supported", hint="leave it out")
        declared = {name: value for name, value in state.args.values.items() if name not in state.environment}
        mounts = await self._crew.mounts.plan(run, state, lambda name: self._tree(index, name), self._dockerfile.escape)
        counted = {name: value for name, value in declared.items() if name not in PROXIES}
        key = digest(state.key, "run", run.is_shell, command(state, run), counted, run.network, await self._crew.work(mounts.key))
        created_by = _run_text(state, run, counted)
        if self._reused(state, key, created_by):
            return
        lower = await self._crew.work(self._crew.assembly.lower, state.layers)
        async with mounts.made(self._crew, self._spec, lower) as made:
            ground = Ground(lower, made.mounts, made.tmpfs, made.program)
            environment = {name: value for name, value in state.args.run_environment({}).items() if name not in state.environment}
            started: list[str] = []

            def begun(container_id: str) -> None:
                started.append(container_id[:SHORT_ID])
                self._crew.say(Progress(stream=f" ---> Running in {started[0]}\n"))

            async with self._crew.runs.ran(
                self._crew.workspace.id, self._spec, state, run, {**environment, **made.environment}, ground, begun, self._crew.say_output
            ) as upper:
                await self._crew.work(emptied, upper, stubs(lower, made.targets))
                await self._keep(state, key, created_by, upper)
            self._crew.say(Progress(stream=f" ---> Removed intermediate container {started[0]}\n"))

    async def _copy(self, state: State, index: int, instruction: Copy) -> None:
        tree = await self._tree(index, instruction.from_) if instruction.from_ else self._context
        variables = state.variables()
        asked = await self._crew.work(build_files.found, instruction, tree, variables, self._dockerfile.escape, state.working_dir)
        chown = f"--chown={asked.chown}" if asked.chown else ""  # with no space after it, in Docker's words, too
        mode = "" if asked.mode is None else f"{asked.mode:o}"
        key = digest(
            state.key, instruction.keyword, asked.digests, [(path.rpartition("/")[2], below) for path, below in asked.paths],
            asked.target, asked.chown, mode, asked.unpacks, list(asked.content),
        )  # fmt: skip
        created_by = nop(state.config, f"{instruction.keyword} {chown}{asked.shown} in {asked.written} ", spaces=1)
        if not self._reused(state, key, created_by):
            await self._written(state, key, created_by, lambda root_fd: build_files.transfer(asked, root_fd, self._crew.check))

    async def _workdir(self, state: State, instruction: Workdir) -> None:
        variables = state.variables()
        apply_instruction(state.config, instruction, lambda text: expand(text, variables, self._dockerfile.escape))
        path = state.working_dir
        created_by = nop(state.config, f"WORKDIR {path}", spaces=1)
        key = digest(state.key, "workdir", path)
        if not self._reused(state, key, created_by):
            await self._written(state, key, created_by, lambda root_fd: build_files.work_directory(root_fd, path))

    async def _written(self, state: State, key: str, created_by: str, write: Callable[[int], None]) -> None:
        lower = await self._crew.work(self._crew.assembly.lower, state.layers)
        directory = await self._crew.work(self._crew.workspace.step)

        def into_view() -> None:
            view = self._crew.workspace.view(lower, directory, writable=True)
            try:
                write(view.root_fd)
            finally:
                view.close()

        await self._crew.work(into_view)
        await self._keep(state, key, created_by, str(directory / "upper"))
        await self._crew.work(self._crew.workspace.drop, directory)

    # --- where files come from ---

    async def _tree(self, index: int, name: str) -> Tree:
        """The files of a stage, an image or a named context; "" is the build's own context."""
        if not name:
            return self._context
        stage = stage_of_copy(self._dockerfile, name)
        key = f"stage {stage}" if stage is not None else f"image {name}"
        if key not in self._trees:
            if stage is not None and stage not in self._states:
                await self._late(index, stage)
            self._trees[key] = await self._opened(await self._layers_of(stage, name))
        return self._trees[key]

    async def _late(self, index: int, wanted: int) -> None:
        """Builds a stage that only a trigger asks for: the base image told of it when the order had been decided."""
        order = needed_stages(self._dockerfile, str(wanted), self._scope.values)
        if index in order:
            name = self._dockerfile.stages[wanted].name or str(wanted)
            raise InvalidArgument(f"circular dependency detected on stage: {name}", hint="let it need no files of this one")
        for one in order:
            if one not in self._states:
                self._count += 1 + len(self._dockerfile.stages[one].instructions)
                await self._stage(one)

    async def _layers_of(self, stage: int | None, name: str) -> Layers:
        if stage is not None:
            return self._states[stage].layers
        image = await self._crew.image(self._spec.contexts.get(name, name), self._spec.platform)
        return (await self._crew.work(self._crew.assembly.taken_apart, image))[1]

    async def _opened(self, layers: Layers) -> Tree:
        lower = await self._crew.work(self._crew.assembly.lower, layers)
        directory = await self._crew.work(self._crew.workspace.step)
        view = await self._crew.work(self._crew.workspace.view, lower, directory, writable=False)
        return Tree(view.root_fd, is_context=False)


def _triggers(config: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What a base image wants to be done, once."""
    rest = dict(config)
    return list(rest.pop("OnBuild", None) or ()), rest


def _run_text(state: State, run: Run, declared: Mapping[str, str]) -> str:
    """`|2 A=b C=d /bin/sh -c …`, as Docker's classic builder writes the arguments a command could see."""
    words = command(state, run)
    before = [f"|{len(declared)}", *(f"{name}={value}" for name, value in sorted(declared.items()))] if declared else []
    return " ".join([*before, *words])


def _quoted(text: str) -> str:
    """So that `expand` gives it back as it is."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")

