"""An OCI runtime configuration, checked and turned into what the start path works with.

`load` reads a bundle's config.json, refuses with the field's name what makes no sense (InvalidArgument) or what
this runtime lacks (Unsupported), and never ignores a known field silently.  Unknown fields are ignored, as the
runtime-spec's "Extensibility" demands.  Source: opencontainers/runtime-spec 1.2, config.md and config-linux.md.
"""

from __future__ import annotations

import os
import resource

from stackrun.errors import InvalidArgument, NotFound, Unsupported
from stackrun.kernel import caps, mounts, namespaces, privileges, signals
from stackrun.runtime import hooks, jsontext, scheduling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from stackrun.runtime.messages import Message

CONFIG_BYTES_MAX = 16 * 1024 * 1024
ID_MAX = 2**31 - 1
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_LACKING = (
    "linux.intelRdt",
    "linux.memoryPolicy",
    "linux.mountLabel",
    "linux.netDevices",
    "process.apparmorProfile",
    "process.commandLine",
    "process.selinuxLabel",
    "process.user.username",
    "solaris",
    "vm",
    "windows",
    "zos",
)
_SYSCTL_NAMESPACES = (
    ("kernel.domainname", "uts"),
    ("kernel.hostname", ""),
    ("kernel.msg", "ipc"),
    ("kernel.sem", "ipc"),
    ("kernel.shm", "ipc"),
    ("fs.mqueue.", "ipc"),
    ("net.", "network"),
)


class Process:
    """What a process is to be before execve (`process` of the configuration).

    `capabilities` is a bit mask a set, in the order of CAPABILITY_SETS; names that are none are only warned of, as the
    spec demands.  `console_size` is (rows, columns) or None, `personality` the container's (-1: none).  `user` is ""
    or the name the container's own passwd resolves; else `uid` and `gid` hold.  `group_names` are resolved there too and join
    `groups`.  `rlimits` are (number, soft, hard).
    """

    __slots__ = (
        "arguments",
        "capabilities",
        "console_size",
        "cwd",
        "dies_with_parent",
        "environment",
        "gid",
        "group_names",
        "groups",
        "no_new_privileges",
        "oom_score_adj",
        "personality",
        "rlimits",
        "scheduling",
        "uid",
        "umask",
        "unknown_capabilities",
        "user",
    )

    def __init__(self, process: Message, where: str = "process") -> None:
        self.arguments: list[str] = _texts(process, "args", where)
        if not self.arguments:
            raise InvalidArgument(f"{where}.args: no command specified")
        self.environment = dict(word.partition("=")[::2] for word in _texts(process, "env", where))
        self.cwd = _text(process, "cwd", where) or "/"
        if not self.cwd.startswith("/"):
            raise InvalidArgument(f"{where}.cwd: {self.cwd!r} is not an absolute path")
        user = process.get("user") or {}
        self.user = _text(process, "stackrunUser", where)
        self.group_names = tuple(_texts(process, "stackrunGroups", where))
        self.uid = _id(user, "uid", f"{where}.user")
        self.gid = _id(user, "gid", f"{where}.user")
        self.groups = [_number(one, f"{where}.user.additionalGids", ID_MAX) for one in user.get("additionalGids") or ()]
        self.umask = _number(user.get("umask", 0o022), f"{where}.user.umask", 0o777)
        self.capabilities, self.unknown_capabilities = _capabilities(process.get("capabilities") or {})
        self.rlimits = [_rlimit(one, where) for one in process.get("rlimits") or ()]
        if len({number for number, _, _ in self.rlimits}) != len(self.rlimits):
            raise InvalidArgument(f"{where}.rlimits: a type is there twice")
        self.scheduling = scheduling.parse(process, where)
        self.console_size = _console_size(process.get("consoleSize"), f"{where}.consoleSize")
        self.personality = -1
        self.no_new_privileges = bool(process.get("noNewPrivileges"))
        self.oom_score_adj: int | None = process.get("oomScoreAdj")
        self.dies_with_parent = True


class Mount:
    """One entry of `mounts`: `kind` is bind, cgroup or a file system type.

    `id_mappings` (uid, gid) are its own or, when it only says idmap, the container's.  `tree_fd` is a bind's source where init
    could not open it itself (-1: it can).  `is_resolved`: its source was without links when that was looked at, and must be so still.
    `visited`: the mount namespace that a bind's source is a path in, or "" for the host's.
    """

    __slots__ = ("destination", "id_mappings", "is_resolved", "kind", "options", "source", "tree_fd", "visited")

    def __init__(self, destination: str, kind: str, source: str, options: mounts.Options) -> None:
        self.destination = destination
        self.kind = kind
        self.source = source
        self.options = options
        self.id_mappings: tuple[list[dict[str, int]], list[dict[str, int]]] | None = None
        self.tree_fd = -1
        self.is_resolved = False
        self.visited = ""


class Spec:
    """A checked configuration.  `namespaces` maps a kind to the path to join, or to "" for a new one.  `given_trees` are binds
    whose source init could not open: of mapped ids, or of a user namespace whose root may not go there."""

    __slots__ = (
        "annotations",
        "bundle",
        "cgroup_namespace_fd",
        "devices",
        "domainname",
        "gid_mappings",
        "given_trees",
        "hooks",
        "hostname",
        "in_user_namespace",
        "masked_paths",
        "mounts",
        "namespaces",
        "process",
        "read_only_paths",
        "read_only_root",
        "resources",
        "root",
        "root_propagation",
        "sysctls",
        "terminal",
        "time_offsets",
        "uid_mappings",
    )

    def __init__(self, config: Message, bundle: str) -> None:
        refuse_lacking(config)
        linux = config.get("linux") or {}
        root = config.get("root") or {}
        self.bundle = bundle
        self.annotations: dict[str, str] = _object(config, "annotations", "")
        if not all(isinstance(value, str) for value in self.annotations.values()):
            raise InvalidArgument("annotations: a value is not a text")
        self.root = os.path.join(bundle, _text(root, "path", "root"))
        self.read_only_root = bool(root.get("readonly"))
        self.hostname = _text(config, "hostname", "")
        self.domainname = _text(config, "domainname", "")
        self.hooks = hooks.Hooks(config["hooks"]) if config.get("hooks") else hooks.NONE
        self.namespaces = _namespaces(linux)
        self.mounts = [_mount(one, index, bundle) for index, one in enumerate(config.get("mounts") or ())]
        self.devices = [_device(one, index) for index, one in enumerate(linux.get("devices") or ())]
        self.masked_paths = _paths(linux, "maskedPaths")
        self.read_only_paths = _paths(linux, "readonlyPaths")
        self.sysctls = _sysctls(linux, self.namespaces)
        self.resources: Message = _object(linux, "resources", "linux")
        self.root_propagation = _propagation(linux)
        self.uid_mappings = _mappings(linux, "uidMappings", self.namespaces)
        self.gid_mappings = _mappings(linux, "gidMappings", self.namespaces)
        self.time_offsets = _time_offsets(linux, self.namespaces)
        if not config.get("process"):
            raise InvalidArgument("process: no command specified")
        self.process = Process(config["process"])
        self.process.personality = scheduling.personality(linux)
        self.terminal = bool(config["process"].get("terminal"))
        self._check()

    def _check(self) -> None:
        for field, kind in (("hostname", "uts"), ("domainname", "uts")):
            if getattr(self, field) and kind not in self.namespaces:
                raise InvalidArgument(f"{field}: it takes a uts namespace of its own")
        if self.namespaces.get("mount", "join"):
            raise InvalidArgument("linux.namespaces: a new mount namespace is required")
        self.in_user_namespace = "user" in self.namespaces
        self.cgroup_namespace_fd = -1
        for index, mount in enumerate(self.mounts):
            if mount.options.maps_ids and not mount.id_mappings:
                if not self.uid_mappings:
                    raise InvalidArgument(f"mounts[{index}]: {mount.options.maps_ids} needs uidMappings and gidMappings")
                mount.id_mappings = self.uid_mappings, self.gid_mappings
        # An ordinary user may clone no mount outside; what is his, his namespace's root may open as well.
        given = self.in_user_namespace and not privileges.current().rootless
        self.given_trees = [one for one in self.mounts if one.kind == "bind" and (given or one.id_mappings or one.visited)]


def load(bundle: str) -> Spec:
    """The bundle's configuration; NotFound without config.json, InvalidArgument or Unsupported naming the field."""
    path = f"{bundle}/config.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"no configuration at {path}") from None
    with os.fdopen(fd, "rb") as file:
        text = file.read(CONFIG_BYTES_MAX)
    try:
        config = jsontext.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise InvalidArgument(f"{path}: it holds no JSON object")
    return check(config, bundle)


def check(config: Message, bundle: str) -> Spec:
    """`load` without the file."""
    with Typed("config.json"):
        return Spec(config, bundle)


def check_process(process: Message) -> Process:
    """Of an exec."""
    with Typed("process"):
        refuse_lacking({"process": process})
        return Process(process)


class Typed:
    """A value of the wrong JSON type somewhere below; the typed accessors name most of them already."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (AttributeError, KeyError, TypeError, ValueError)):
            raise InvalidArgument(f"{self._where}: a value has the wrong type: {error}") from error


def refuse_lacking(config: Message) -> None:
    """Unsupported, naming the field.  Also for a configuration of which only a part is there."""
    for field in _LACKING:
        value: Any = config
        for name in field.split("."):
            value = (value or {}).get(name)
        if value:
            raise Unsupported(f"{field} is not supported", hint="remove it from the configuration")


def _text(holder: Message, name: str, where: str) -> str:
    value = holder.get(name, "")
    if not _is_text(value):
        raise InvalidArgument(f"{_field(where, name)}: {value!r} is not a text")
    return str(value)


def _is_text(value: object) -> bool:
    """Something execve(2) and paths can take: no zero, and half a character only where it stands for a byte (PEP 383)."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _object(holder: Message, name: str, where: str) -> Message:
    value = holder.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"{_field(where, name)}: {value!r} is not an object")
    return value


def _texts(holder: Message, name: str, where: str) -> list[str]:
    values = holder.get(name) or []
    if not isinstance(values, list) or not all(map(_is_text, values)):
        raise InvalidArgument(f"{_field(where, name)}: it must be a list of texts")
    return values


def _field(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _number(value: object, where: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidArgument(f"{where}: {value!r} is not a number from 0 to {most}")
    return value


def _id(holder: Message, name: str, where: str) -> int:
    return _number(holder.get(name, 0), f"{where}.{name}", ID_MAX)


def _capabilities(sets: Message) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """A mask a set, and the names that are no capability."""
    masks, unknown = [], []
    for name in CAPABILITY_SETS:
        wanted = sets.get(name) or []
        unknown += [one for one in wanted if one not in caps.NUMBERS]
        masks.append(caps.mask([one for one in wanted if one in caps.NUMBERS]))
    return tuple(masks), tuple(dict.fromkeys(unknown))


def _console_size(size: Message | None, where: str) -> tuple[int, int] | None:
    if not size:
        return None
    return _number(size.get("height", 0), f"{where}.height", 65535), _number(size.get("width", 0), f"{where}.width", 65535)


def _rlimit(limit: Message, where: str) -> tuple[int, int, int]:
    name = _text(limit, "type", f"{where}.rlimits")
    number = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
    if not isinstance(number, int):
        raise InvalidArgument(f"{where}.rlimits: unknown type {name!r}")
    soft, hard = (_rlimit_value(limit.get(side, 0), f"{where}.rlimits.{name}") for side in ("soft", "hard"))
    return number, soft, hard


def _rlimit_value(value: object, where: str) -> int:
    """-1 and everything from 2^63 up mean no limit (Docker writes either)."""
    if not isinstance(value, int):
        raise InvalidArgument(f"{where}: {value!r} is not a number")
    return resource.RLIM_INFINITY if value < 0 or value >= 2**63 - 1 else value


def _namespaces(linux: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in linux.get("namespaces") or ():
        kind = _text(one, "type", "linux.namespaces")
        if kind not in namespaces.FLAGS:
            raise InvalidArgument(f"linux.namespaces: unknown type {kind!r}")
        if kind in found:
            raise InvalidArgument(f"linux.namespaces: {kind} is there twice")
        found[kind] = _text(one, "path", f"linux.namespaces.{kind}")
    return found


def _mount(mount: Message, index: int, bundle: str) -> Mount:
    where = f"mounts[{index}]"
    destination = _text(mount, "destination", where)
    if not destination:
        raise InvalidArgument(f"{where}.destination: it is missing")
    words = _texts(mount, "options", where)
    kind, source = _text(mount, "type", where), _text(mount, "source", where)
    options = mounts.Options(words)
    if kind == "bind" or "bind" in words or "rbind" in words:
        kind = "bind"
        source = os.path.join(bundle, source)
        options.refuse_data(where)
    if not kind:
        raise InvalidArgument(f"{where}.type: it is missing")
    if options.copies_up and kind != "tmpfs":
        raise InvalidArgument(f"{where}: tmpcopyup is for a tmpfs, not for {kind}")
    found = Mount("/" + destination.strip("/"), kind, source, options)
    found.is_resolved = mount.get("stackrunResolved") is True
    if mount.get("stackrunVisits") is True:
        # /proc/PID/root/PATH, which by itself can be looked at from here, but not mounted.
        process, _, path = source.partition("/root/")
        found.visited, found.source = f"{process}/ns/mnt", f"/{path}"
    if mount.get("uidMappings") or mount.get("gidMappings"):
        found.id_mappings = tuple(_checked_mappings(mount, name, where) for name in ("uidMappings", "gidMappings"))  # type: ignore[assignment]
        options.maps_ids = options.maps_ids or "idmap"
    if options.maps_ids and kind != "bind":
        raise Unsupported(f"{where}: ids are mapped for bind mounts alone, not for {kind}")
    return found


_DEVICE_TYPES = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}


def _device(device: Message, index: int) -> tuple[str, int, int, int, int, int]:
    """(path, type and mode bits, major, minor, uid, gid)"""
    where = f"linux.devices[{index}]"
    kind = _text(device, "type", where)
    path = _text(device, "path", where)
    if kind not in _DEVICE_TYPES or not path.startswith("/"):
        raise InvalidArgument(f"{where}: {kind} {path!r} is no device")
    mode = _DEVICE_TYPES[kind] | _number(device.get("fileMode") or 0o666, f"{where}.fileMode", 0o177777) & 0o7777
    major, minor = (_number(device.get(name, 0), f"{where}.{name}", 2**32 - 1) for name in ("major", "minor"))
    return path, mode, major, minor, _id(device, "uid", where), _id(device, "gid", where)


def _paths(linux: Message, name: str) -> list[str]:
    paths = _texts(linux, name, "linux")
    for path in paths:
        if not path.startswith("/"):
            raise InvalidArgument(f"linux.{name}: {path!r} is not an absolute path")
    return paths


def _sysctls(linux: Message, found: dict[str, str]) -> list[tuple[str, str]]:
    """(path below /proc/sys, value).  Only what belongs to a namespace of the container's own: the rest is the host's."""
    sysctls = []
    for key, value in sorted((linux.get("sysctl") or {}).items()):
        kind = next((kind for prefix, kind in _SYSCTL_NAMESPACES if key.startswith(prefix)), "")
        if not kind or kind not in found or ".." in key:
            raise InvalidArgument(f"linux.sysctl.{key}: it is not of a namespace this container has for itself")
        # A slash stands for a dot inside a name, as in net.ipv4.conf.eth0/100.rp_filter (sysctl.d(5)).
        sysctls.append((key.translate({ord("."): "/", ord("/"): "."}), str(value)))
    return sysctls


def _propagation(linux: Message) -> int:
    word = _text(linux, "rootfsPropagation", "linux")
    plain = word.removeprefix("r") if word.startswith("r") else word
    if not plain:
        return mounts.PROPAGATION_WORDS["slave"]
    if plain not in mounts.PROPAGATION_WORDS:
        raise InvalidArgument(f"linux.rootfsPropagation: unknown value {word!r}")
    return mounts.PROPAGATION_WORDS[plain]


def _mappings(linux: Message, name: str, found: dict[str, str]) -> list[dict[str, int]]:
    mappings: list[dict[str, int]] = linux.get(name) or []
    if mappings and "user" not in found:
        raise InvalidArgument(f"linux.{name}: it takes a user namespace")
    if not mappings and found.get("user") == "":
        raise InvalidArgument(f"linux.{name}: a new user namespace needs it")
    if mappings and found["user"]:
        raise InvalidArgument(f"linux.{name}: a user namespace that is joined has its mappings already")
    return _checked_mappings(linux, name, "linux") if mappings else []


def _checked_mappings(holder: Message, name: str, where: str) -> list[dict[str, int]]:
    mappings: list[dict[str, int]] = holder.get(name) or []
    if not mappings:
        raise InvalidArgument(f"{where}.{name}: it is missing")
    for one in mappings:
        for field in ("containerID", "hostID", "size"):
            _number(one.get(field), f"{where}.{name}.{field}", 2**32 - 1)
    return mappings


def _time_offsets(linux: Message, found: dict[str, str]) -> list[tuple[str, int, int]]:
    """(clock, seconds, nanoseconds)"""
    offsets = []
    for clock, offset in (linux.get("timeOffsets") or {}).items():
        where = f"linux.timeOffsets.{clock}"
        if clock not in ("boottime", "monotonic"):
            raise InvalidArgument(f"{where}: there is no such clock", hint="known are boottime and monotonic")
        if found.get("time") != "":
            raise InvalidArgument(f"{where}: it takes a time namespace of its own")
        seconds = offset.get("secs") or 0
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            raise InvalidArgument(f"{where}.secs: {seconds!r} is not a number")
        offsets.append((clock, seconds, _number(offset.get("nanosecs") or 0, f"{where}.nanosecs", 999_999_999)))
    return offsets


def signal_number(text: str) -> int:
    """`9`, `KILL`, `SIGKILL`, `SIGRTMIN+3` → number; InvalidArgument in Docker's words."""
    if text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= 64:
        return int(text)
    name, plus, offset = text.upper().partition("+")
    name = name if name.startswith("SIG") else f"SIG{name}"
    number = getattr(signals, name, None)
    is_offset = offset.isascii() and offset.isdigit() and len(offset) <= 2
    if not isinstance(number, int) or name.startswith("SIG_") or (plus and not is_offset):
        raise InvalidArgument(f"invalid signal: {text}")
    return int(number) + int(offset or 0)
