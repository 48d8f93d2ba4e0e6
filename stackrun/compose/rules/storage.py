"""Volumes, bind mounts and tmpfs: what is lost, what is hidden, and what of the machine a container may touch.

Whether files of the project are there is looked up; of other places of the machine nothing is.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from stackrun.compose.origins import Note
from stackrun.compose.rules.git_index import tracked
from stackrun.compose.rules.mounts import Mount, around, data_folders, database, is_new_postgres, mounts
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.rules.written_lists import repeated

GROUP = Group("storage")

_FILE_NAME = re.compile(r"[^/]+\.(?:[A-Za-z][A-Za-z0-9]{1,5}|[a-z]{2,4}\.[a-z]{2,5})")
_FOLDERS_WITH_DOT = re.compile(r".*\.(d|git|venv|local|io|com|org|net)")
_DISPOSABLE = re.compile(r".*/(node_modules|vendor|\.venv|venv|target|dist|build|\.next|\.nuxt|bundle|__pycache__|\.cache|tmp|cache)(/.*)?")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_PERSONAL = re.compile(r"/(?:home|Users)/([^/]+)/")


def _of(service: Service) -> str:
    return f'service "{service.name}"'


def _each(stack: Stack, kind: str = "") -> Iterator[tuple[Service, Mount]]:
    for service in stack.services:
        for mount in mounts(stack, service):
            if not kind or mount.kind == kind:
                yield service, mount


# --- what hides what ------------------------------------------------------------------------------


@GROUP.rule("repeated-mount", "warning", "A service mounts two things at one path, so the first is not there.")
def repeated_mount(stack: Stack) -> Iterator[Found]:
    for one in repeated(stack, "volumes", re.compile(r"[^\s:'\"]+:(/[^\s:'\"]*?)/?(?=[\s:'\"]|$)")):
        message = f'service "{one.service}" mounts something at {one.subject} already: the later one replaces it'
        yield Found(one.second, message, "remove one of the two", (Note(one.first, "this one is not mounted"),))


_SYSTEM_TARGETS = frozenset((
    "/bin", "/sbin", "/lib", "/lib64", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/etc", "/proc", "/sys", "/dev",
))  # fmt: skip


@GROUP.rule("mount-over-system", "warning", "A mount hides a folder that the image cannot do without.")
def mount_over_system(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack):
        same = mount.kind == "bind" and mount.source == mount.target and mount.target in ("/dev", "/sys", "/proc")
        if (mount.target == "/" or mount.target in _SYSTEM_TARGETS) and not same:
            message = f"{_of(service)} mounts over {mount.target} of its image, which is hidden by that"
            yield Found(mount.node.at("target") if mount.kind != "tmpfs" else mount.place, message, "mount at a folder below it")


@GROUP.rule("mount-inside-read-only", "warning", "A mount lies in a read-only one that has no folder for it.")
def mount_inside_read_only(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        listed = mounts(stack, service)
        outer = {one.target: one for one in listed if one.kind == "bind" and one.read_only and _is_own(stack, one.source)}
        for mount in listed if outer else ():
            parent = next(around(mount.target, outer), None)
            inside = mount.target[len(parent.target) + 1 :] if parent else ""
            if parent and os.path.isdir(parent.source) and not os.path.exists(os.path.join(parent.source, inside)):
                message = f"{_of(service)} cannot mount at {mount.target}: the mount around it is read-only and has no {inside}"
                hint = "make an empty one in the source, or drop read-only"
                yield Found(mount.place, message, hint, (Note(parent.place, "the read-only mount"),))


@GROUP.rule("mount-hides-files", "note", "A mount hides files of the mount around it.")
def mount_hides_files(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        listed = mounts(stack, service)
        outer = {one.target: one for one in listed if one.kind == "bind" and _is_own(stack, one.source)}
        for mount in listed if outer else ():
            parent = next(around(mount.target, outer), None)
            if parent is None or (mount.kind == "volume" and not mount.source):
                continue
            inside = os.path.join(parent.source, mount.target[len(parent.target) + 1 :])
            if inside != mount.source and _has_files(inside):
                message = f"{_of(service)} does not see what {os.path.relpath(inside, stack.directory)} has: another mount lies over it"
                yield Found(mount.place, message, "mount it at a folder of its own", (Note(parent.place, "the mount around it"),))


def _has_files(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(True for _ in entries)
    except (OSError, ValueError):
        return False


@GROUP.rule("file-inside-volume", "note", "A config or secret is put into a volume, where it leaves an empty file.")
def file_inside_volume(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        volumes = {one.target: one for one in mounts(stack, service) if one.kind == "volume" and one.source}
        for key in ("configs", "secrets") if volumes else ():
            for node in service.nodes(key):
                target = node.text("target") or (f"/{node.text('source')}" if key == "configs" else "")
                volume = next(around(target, volumes), None)
                if volume is not None:
                    message = f"{_of(service)} gets {target} inside volume {volume.source}, where an empty file stays behind"
                    yield Found(node.at("target"), message, "put it outside the volume", (Note(volume.place, "the volume"),))


# --- of the machine -------------------------------------------------------------------------------

_SYSTEM_EXACT = frozenset((
    "/", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sys", "/usr", "/var",
))  # fmt: skip
_SYSTEM_BELOW = (
    "/bin", "/boot", "/etc/cron.d", "/etc/pam.d", "/etc/passwd", "/etc/shadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/systemd",
    "/lib/systemd", "/proc", "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/sbin", "/var/lib/containerd",
    "/var/lib/docker", "/var/lib/kubelet", "/var/run",
)  # fmt: skip
_HARMLESS_BELOW = ("/sys/fs/cgroup", "/var/run/dbus", "/var/run/user", "/var/run/secrets", "/var/run/postgresql", "/var/run/mysqld")
_SOCKET = re.compile(r"(docker|podman|containerd|crio|cri-dockerd|buildkitd|stackrun)(\.sock|-shim\.sock)|io\.podman")
_OWN_SECRETS = re.compile(r".*/(\.ssh|\.aws|\.kube|\.gnupg|\.azure|\.config/gcloud|\.docker/config\.json|\.netrc)(/.*)?")


def _is_system(path: str) -> bool:
    """Whether a path of the machine is the system's own rather than a program's."""
    if any(path == one or path.startswith(one + "/") for one in _HARMLESS_BELOW) or _is_socket(path):
        return False
    return path in _SYSTEM_EXACT or any(path == one or path.startswith(one + "/") for one in _SYSTEM_BELOW)


def _is_socket(path: str) -> bool:
    return bool(_SOCKET.fullmatch(os.path.basename(path))) or path.endswith((".sock", ".socket"))


def _normal(path: str) -> str:
    return os.path.normpath(path) if path.startswith("/") else path


@GROUP.rule("engine-socket", "warning", "A container gets the socket of a container engine, and with it the whole machine.")
def engine_socket(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        if _SOCKET.fullmatch(os.path.basename(mount.source)):
            message = f"{_of(service)} can do everything through {mount.source}: whoever may talk to it is root"
            yield Found(mount.source_at, message, "read-only does not help: put a proxy that filters requests in between")


@GROUP.rule("writable-system-path", "warning", "A container may write into folders of the system.")
def writable_system_path(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        if not mount.read_only and _is_system(_normal(mount.source)):
            message = f"{_of(service)} may write to {mount.source} of the machine"
            yield Found(mount.source_at, message, "mount it read-only, or only the part that is needed")


@GROUP.rule("readable-system-path", "note", "A container may read folders of the system.")
def readable_system_path(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        if mount.read_only and _is_system(_normal(mount.source)):
            message = f"{_of(service)} may read everything in {mount.source} of the machine"
            yield Found(mount.source_at, message, "mount only the part that is needed")


@GROUP.rule("mounted-credentials", "warning", "A container gets somebody's keys.")
def mounted_credentials(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        found = _OWN_SECRETS.fullmatch(mount.source)
        if found and not mount.source.endswith(("/known_hosts", ".pub")):
            message = f"{_of(service)} gets the {found[1]} of whoever starts the stack"
            yield Found(mount.source_at, message, "give it keys of its own, as secrets")


@GROUP.rule("shared-propagation", "warning", "Mounts made in a container appear on the machine.")
def shared_propagation(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        kind = mount.node.text("bind", "propagation")
        if kind in ("shared", "rshared"):
            message = f"what {_of(service)} mounts below {mount.target} also appears on the machine"
            yield Found(mount.node.at("bind", "propagation"), message, "use rslave, which only goes the other way")


@GROUP.rule("personal-path", "note", "A mount names somebody's home folder.")
def personal_path(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        place = mount.source_at
        found = _PERSONAL.match(mount.source)
        if found and f"/{found[1]}/" in stack.rest_of_line(place):
            message = f"{_of(service)} needs a folder of {found[1]}, which other machines do not have"
            yield Found(place, message, "write a path relative to this file, or take it from a variable")


@GROUP.rule("windows-path", "warning", "A mount names a folder of Windows.")
def windows_path(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        if _DRIVE.match(mount.source):
            yield Found(mount.source_at, f"{_of(service)} mounts a Windows path", "write a path relative to this file")


# --- what is there --------------------------------------------------------------------------------


def _is_own(stack: Stack, path: str) -> bool:
    """Whether a path belongs to the project: only such a path is looked up."""
    return path.startswith(stack.directory.rstrip("/") + "/") and "\0" not in path and "/~" not in path


def _looks_like_file(path: str) -> bool:
    name = os.path.basename(path)
    return bool(_FILE_NAME.fullmatch(name)) and not _FOLDERS_WITH_DOT.fullmatch(name)


def _missing(stack: Stack) -> Iterator[tuple[Service, Mount]]:
    for service, mount in _each(stack, "bind"):
        if _is_own(stack, mount.source) and not os.path.lexists(mount.source):
            yield service, mount


@GROUP.rule("missing-bind-file", "warning", "A file to be mounted is not there, so an empty folder takes its place.")
def missing_bind_file(stack: Stack) -> Iterator[Found]:
    for service, mount in _missing(stack):
        if _looks_like_file(mount.source) and _looks_like_file(mount.target):
            shown = os.path.relpath(mount.source, stack.directory)
            message = f"{_of(service)} mounts {shown}, which is not there: it gets an empty folder instead"
            yield Found(mount.source_at, message, "create the file, or correct its name")


@GROUP.rule("missing-bind-folder", "note", "A folder to be mounted is not there, so an empty one is made.")
def missing_bind_folder(stack: Stack) -> Iterator[Found]:
    for service, mount in _missing(stack):
        if not (_looks_like_file(mount.source) and _looks_like_file(mount.target)):
            shown = os.path.relpath(mount.source, stack.directory)
            message = f"{_of(service)} mounts {shown}, which is not there: root makes an empty folder"
            yield Found(mount.source_at, message, "create it beforehand with the right owner, or use a volume")


@GROUP.rule("folder-for-file", "warning", "A folder is mounted where a file belongs, or a file where a folder does.")
def folder_for_file(stack: Stack) -> Iterator[Found]:
    for service, mount in _each(stack, "bind"):
        if not _is_own(stack, mount.source):
            continue
        same_name = os.path.basename(mount.source) == os.path.basename(mount.target)
        if same_name and _looks_like_file(mount.target) and os.path.isdir(mount.source):
            message = f"{_of(service)} mounts a folder at {mount.target}, which looks like a file"
            yield Found(mount.source_at, message, "an earlier start may have made the folder: put the file there")
        elif f"{mount.target}/" in stack.rest_of_line(mount.node.at("target")) and os.path.isfile(mount.source):
            written = stack.rest_of_line(mount.node.at("target"))
            if re.search(re.escape(mount.target) + r"/(?=[:'\"\s]|$)", written):
                message = f"{_of(service)} mounts a file at the folder {mount.target}/"
                yield Found(mount.node.at("target"), message, "add the file's name to the target")


@GROUP.rule("missing-volume-device", "warning", "The folder behind a volume is not there, and nobody makes it.")
def missing_volume_device(stack: Stack) -> Iterator[Found]:
    for volume in stack.resources("volumes"):
        device, options = volume.text("driver_opts", "device"), volume.text("driver_opts", "o").split(",")
        if "bind" in options and _is_own(stack, device) and not os.path.lexists(device):
            shown = os.path.relpath(device, stack.directory)
            message = f'volume "{volume.name}" needs the folder {shown}, which is not there'
            yield Found(volume.at("driver_opts", "device"), message, "create it: unlike that of a bind mount it is not made")


@GROUP.rule("readable-secret-file", "note", "Everybody on this machine may read a secret's file.")
def readable_secret_file(stack: Stack) -> Iterator[Found]:
    for secret in stack.resources("secrets"):
        file = secret.text("file")
        try:
            mode = os.stat(file).st_mode if _is_own(stack, file) else 0
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(mode) and mode & stat.S_IROTH:
            message = f'everybody on this machine may read the file of secret "{secret.name}"'
            yield Found(secret.at("file"), message, f"chmod o-rwx {os.path.relpath(file, stack.directory)}")


@GROUP.rule("tracked-secret", "warning", "A secret's file is kept in the repository.")
def tracked_secret(stack: Stack) -> Iterator[Found]:
    for secret in stack.resources("secrets"):
        file = secret.text("file")
        if _is_own(stack, file) and os.path.isfile(file) and tracked(file):
            message = f'the file of secret "{secret.name}" is in the repository, for everybody who has a copy'
            yield Found(secret.at("file"), message, f"git rm --cached {os.path.relpath(file, stack.directory)}, and change the secret")


# --- what is lost ---------------------------------------------------------------------------------


@GROUP.rule("database-without-volume", "note", "A database keeps its data in the container, and loses them with it.")
def database_without_volume(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        folders = data_folders(service)
        if folders and not service.get("volumes_from") and not _mounts_at(stack, service, folders):
            message = f"the data of {_of(service)} are gone when its container is replaced"
            yield Found(service.at("image"), message, f"mount a volume at {_data_folder(service, folders)}")


def _data_folder(service: Service, folders: tuple[str, ...]) -> str:
    return (
        "/var/lib/postgresql"
        if is_new_postgres(service)
        else "/var/lib/postgresql/data"
        if folders[1:2] == ("/var/lib/postgresql/data",)
        else folders[0]
    )


def _mounts_at(stack: Stack, service: Service, folders: tuple[str, ...]) -> list[Mount]:
    """Mounts that hold a folder, or a part of it."""
    return [one for one in mounts(stack, service) if any(one.covers(folder) or one.target.startswith(folder + "/") for folder in folders)]


@GROUP.rule("volume-beside-data", "warning", "A database's volume is not where this version keeps its data.")
def volume_beside_data(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if not is_new_postgres(service) or any(name == "PGDATA" for name, _, _ in service.pairs("environment")):
            continue
        for mount in mounts(stack, service):
            if mount.target == "/var/lib/postgresql/data":
                message = f"{_of(service)}: since version 18 PostgreSQL does not keep its data at {mount.target}"
                yield Found(mount.node.at("target"), message, "mount the volume at /var/lib/postgresql")


@GROUP.rule("database-files-shared", "warning", "Two containers write the files of one database.")
def database_files_shared(stack: Stack) -> Iterator[Found]:
    first: dict[str, tuple[Service, Mount]] = {}
    for service in stack.services:
        for mount in _mounts_at(stack, service, data_folders(service)) if database(service) else ():
            if mount.kind not in ("volume", "bind") or not mount.source or mount.read_only:
                continue
            replicas = service.get("scale") or service.get("deploy", "replicas")
            if isinstance(replicas, int) and replicas > 1 and mount.kind == "volume":
                message = f"{replicas} containers of {_of(service)} would write one database's files"
                yield Found(mount.place, message, "run one container, or set up replication with a volume each")
            other, held = first.setdefault(f"{mount.source}\0{mount.node.text('volume', 'subpath')}", (service, mount))
            if other is not service and database(other) == database(service) and _can_meet(other, service):
                message = f'{_of(service)} and service "{other.name}" write one database\'s files'
                yield Found(mount.place, message, "give each a volume of its own", (Note(held.place, "the other one"),))


def _can_meet(one: Service, other: Service) -> bool:
    """Whether both may run: services of different profiles are alternatives."""
    profiles = set(map(str, one.seq("profiles"))), set(map(str, other.seq("profiles")))
    return not all(profiles) or bool(profiles[0] & profiles[1])


@GROUP.rule("anonymous-volume", "note", "A volume has no name, so nobody finds its data again.")
def anonymous_volume(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        listed = mounts(stack, service)
        binds = {one.target: one for one in listed if one.kind == "bind"}
        for mount in listed:
            if mount.kind != "volume" or mount.source or not mount.target.startswith("/") or _DISPOSABLE.fullmatch(mount.target):
                continue
            if next(around(mount.target, binds), None) is None:
                message = f"{_of(service)} keeps {mount.target} in a volume without a name"
                yield Found(mount.place, message, f"name it: data:{mount.target}, and declare it under volumes")


@GROUP.rule("shared-volume", "note", "Several services write to one volume.")
def shared_volume(stack: Stack) -> Iterator[Found]:
    first: dict[str, tuple[Service, Mount]] = {}
    told: set[str] = set()
    for service, mount in _each(stack, "volume"):
        if mount.read_only or not mount.source:
            continue
        other, held = first.setdefault(mount.source, (service, mount))
        if other is not service and mount.source not in told and other.text("image") != service.text("image") and _can_meet(other, service):
            told.add(mount.source)
            message = f'{_of(service)} and service "{other.name}" both write to volume {mount.source}'
            yield Found(mount.place, message, "mount it read-only where it is only read", (Note(held.place, "the other one"),))


# --- tmpfs ----------------------------------------------------------------------------------------


def _tmpfs(stack: Stack) -> Iterator[tuple[Service, str, set[str], Mount]]:
    """Each entry of `tmpfs` with its target and its options."""
    for service, mount in _each(stack, "tmpfs"):
        if mount.node is service:
            yield service, mount.target, set(mount.options.split(",")), mount


@GROUP.rule("tmpfs-lifts-protection", "warning", "A tmpfs allows set-user-id programs or device files.")
def tmpfs_lifts_protection(stack: Stack) -> Iterator[Found]:
    for service, target, options, mount in _tmpfs(stack):
        lifted = sorted(options & {"suid", "dev"})
        if lifted:
            yield Found(mount.place, f"{_of(service)} allows {' and '.join(lifted)} at {target}", "leave these options out")


@GROUP.rule("executable-tmpfs", "note", "Programs can be run from a tmpfs.")
def executable_tmpfs(stack: Stack) -> Iterator[Found]:
    for service, target, options, mount in _tmpfs(stack):
        if "exec" in options:
            yield Found(mount.place, f"{_of(service)} can run what is written to {target}", "leave exec out if nothing needs it")


@GROUP.rule("unlimited-tmpfs", "note", "A tmpfs may fill half of the machine's memory.")
def unlimited_tmpfs(stack: Stack) -> Iterator[Found]:
    for service, target, options, mount in _tmpfs(stack):
        if not any(option.startswith(("size=", "nr_blocks=")) for option in options):
            yield Found(mount.place, f"{_of(service)} may fill the memory through {target}", f"give it a size: {target}:size=64m")
    for service, mount in _each(stack, "tmpfs"):
        if mount.node is not service and not mount.node.get("tmpfs", "size"):
            yield Found(mount.place, f"{_of(service)} may fill the memory through {mount.target}", "tmpfs: {size: 64m}")


@GROUP.rule("read-only-without-tmp", "note", "A service with a read-only root has nowhere to put temporary files.")
def read_only_without_tmp(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("read_only") is True and not any(one.covers("/tmp") for one in mounts(stack, service)):
            yield Found(service.at("read_only"), f"{_of(service)} cannot write to /tmp", "tmpfs: [/tmp:size=64m], if it needs to")
