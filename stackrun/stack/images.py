"""The images that a stack needs before anything is made of them: which are pulled, which are built, and why.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stackrun.errors import InvalidArgument, NotFound
from stackrun.stack import builds
from stackrun.stack.builds import Declared
from stackrun.stack.desired import Desired, DesiredService
from stackrun.stack.observed import Observed
from stackrun.stack.plan import BuildImage, Draft, Notice, Plan, PullImage
from stackrun.stack.verdict import PLAIN, Policy, selection

ALWAYS = "always"
NEVER = "never"
_WHEN_MISSING = ("", "missing", "if_not_present", "never", "build")
"""Pull policies by which an image that is here is not pulled."""


@dataclass(frozen=True, slots=True)
class BuildPolicy:
    """What the command `build` was asked for."""

    services: tuple[str, ...] = ()
    with_dependencies: bool = False
    no_cache: bool = False
    pull: bool = False
    arguments: Mapping[str, str | None] = field(default_factory=dict)


def decide_images(desired: Desired, observed: Observed, policy: Policy = PLAIN) -> Plan:
    """What `up` pulls and builds before it makes anything.

    Raises NotFound for an image that may be neither and is not there, and for a build whose context or Dockerfile is not there.
    """
    writer = _Writer(observed)
    pulls: dict[tuple[str, str], str] = {}
    for service in (desired.services[name] for name in selection(desired, policy)):
        present = service.image in observed.images
        if service.image in observed.builds and not writer.is_pulled_only(service, policy):
            writer.declared(service, present, policy)
        elif cause := _pull_cause(service, present, policy.pull or service.pull_policy):
            pulls.setdefault((service.image, service.platform), cause)
    for (image, platform), cause in pulls.items():
        writer.draft.add(PullImage(image, platform, cause))
    return writer.plan()


def decide_pull(desired: Desired, observed: Observed, services: tuple[str, ...] = ()) -> Plan:
    """The plan of the command `pull`: every image anew, but for those that their service says are never to be pulled."""
    draft = Draft()
    found: dict[tuple[str, str], str] = {}
    for name in selection(desired, Policy(services=services, no_deps=True)):
        service = desired.services[name]
        if cause := _refresh_cause(service, service.image in observed.images):
            found.setdefault((service.image, service.platform), cause)
    for (image, platform), cause in found.items():
        draft.add(PullImage(image, platform, cause))
    return draft.finished()


def decide_build(desired: Desired, observed: Observed, policy: BuildPolicy) -> Plan:
    """The plan of the command `build`: every image that the file says how to build, and those they need that are not there or not right."""
    writer = _Writer(observed, policy)
    chosen = selection(desired, Policy(services=policy.services, no_deps=not policy.with_dependencies))
    for name in chosen:
        image = desired.services[name].image
        if image in observed.builds:
            writer.build(observed.builds[image], "asked for")
        elif name in policy.services:
            writer.draft.notices.append(Notice(f"Service {name}", "it has no build: nothing is built for it"))
    if not observed.builds:
        writer.draft.notices.append(Notice(f"Project {desired.project}", "no service has a build"))
    return writer.plan()


def stale_images(plan: Plan) -> frozenset[str]:
    """Images that are here and will be others, since they are built of something else."""
    built = (node.action for node in plan.nodes if isinstance(node.action, BuildImage))
    return frozenset(one.reference for one in built if one.declared.changed)


class _Writer:
    def __init__(self, observed: Observed, asked: BuildPolicy | None = None) -> None:
        self._observed = observed
        self._asked = asked or BuildPolicy()
        self._causes: dict[str, tuple[str, bool]] = {}
        """Image → why it is built, and whether it is to be pulled first."""
        self.draft = Draft()

    def plan(self) -> Plan:
        """The builds come in the order of `Observed.builds`, what others need first."""
        for image in [one for one in reversed(tuple(self._observed.builds)) if one in self._causes]:
            self._enter_needs(self._observed.builds[image])
        numbers: dict[str, int] = {}
        for image, declared in self._observed.builds.items():
            if image in self._causes:
                cause, pulls_first = self._causes[image]
                action = BuildImage(
                    image, declared, cause, self._observed.build_records.get(image, ""), pulls_first,
                    no_cache=self._asked.no_cache or declared.build.no_cache, pull=self._asked.pull or declared.build.pull,
                    arguments=self._asked.arguments,
                )  # fmt: skip
                numbers[image] = self.draft.add(action, [numbers[one] for one in declared.build.needs if one in numbers])
        return self.draft.finished()

    def is_pulled_only(self, service: DesiredService, policy: Policy) -> bool:
        """As --no-build has it, where the file names the image itself."""
        declared = self._observed.builds[service.image]
        return policy.build == NEVER and declared.build.pullable and not declared.changed

    def declared(self, service: DesiredService, present: bool, policy: Policy) -> None:
        """An image that some service of the file builds."""
        declared = self._observed.builds[service.image]
        pull_policy = policy.pull or service.pull_policy
        if policy.build == NEVER:
            self._refuse(service, declared, present)
        elif policy.build == ALWAYS:
            self.build(declared, "asked for")
        elif pull_policy == "build" and not (present and service.name in policy.unbuilt):
            self.build(declared, "pull policy build")
        elif declared.build.pullable and pull_policy not in _WHEN_MISSING:
            self.build(declared, f"pull policy {pull_policy}", pulls_first=True)
        elif not present:
            self.build(declared, "missing", pulls_first=declared.build.pullable and pull_policy != NEVER)
        elif declared.changed and declared.build.service not in policy.unbuilt:
            self.build(declared, builds.cause(declared))

    def build(self, declared: Declared, cause: str, *, pulls_first: bool = False) -> None:
        if declared.fault is not None:
            raise declared.fault
        self._causes.setdefault(declared.build.image, (cause, pulls_first))

    def _enter_needs(self, declared: Declared) -> None:
        """Of what it is built on, what is missing or has changed, though no service of this operation uses it."""
        for image in declared.build.needs:
            needed = self._observed.builds.get(image)
            if needed is None:
                continue
            self._enter_needs(needed)
            if image not in self._observed.images:
                self.build(needed, "missing")
            elif needed.changed:
                self.build(needed, builds.cause(needed))

    def _refuse(self, service: DesiredService, declared: Declared, present: bool) -> None:
        if not present:
            hint = f"leave out --no-build, or `stackrun build {declared.build.service}` first"
            raise NotFound(f"No such image: {service.image} (service {service.name})", hint=hint)
        if declared.changed:
            message = f"{builds.cause(declared)}: it is not built, as --no-build says"
            self.draft.notices.append(Notice(f"Image {service.image}", message))


def _pull_cause(service: DesiredService, present: bool, policy: str) -> str:
    if policy not in _WHEN_MISSING:
        return f"pull policy {policy}"
    if present:
        return ""
    if policy in (NEVER, "build") or service.buildable:
        hint = "`up` of the stack's file builds it" if service.buildable else "pull or load it first"
        raise NotFound(f"No such image: {service.image} (service {service.name})", hint=hint)
    return "missing"


def _refresh_cause(service: DesiredService, present: bool) -> str:
    if service.buildable or service.pull_policy in (NEVER, "build"):
        return ""
    if service.pull_policy in ("missing", "if_not_present"):
        return "" if present else "missing"
    return "asked for"


def require_consistent(build: str) -> None:
    """InvalidArgument for what is no answer to when images are built."""
    if build not in ("", ALWAYS, NEVER):
        raise InvalidArgument(f"build: {build!r} is none of always and never")

