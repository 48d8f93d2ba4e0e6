"""What a container may do to its machine and to its neighbours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stackrun.compose.rules import credentials
from stackrun.compose.rules.mounts import database
from stackrun.compose.rules.rule import Found, Group
from stackrun.compose.rules.stack import Service, Stack
from stackrun.compose.tree import Place

GROUP = Group("security")


def _of(service: Service) -> str:
    return f'service "{service.name}"'


# --- privileges -----------------------------------------------------------------------------------


@GROUP.rule("privileged-container", "warning", "A service runs with every privilege of the machine.")
def privileged_container(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("privileged") is True:
            yield Found(service.key_at("privileged"), f"{_of(service)} is privileged", "grant single capabilities with cap_add")


@GROUP.rule("privileged-build", "warning", "An image is built with every privilege of the machine.")
def privileged_build(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("build", "privileged") is True:
            yield Found(service.key_at("build", "privileged"), f"the build of {_of(service)} is privileged", "do without: use RUN --mount")
        for item, place in service.items("build", "entitlements"):
            if str(item) in ("security.insecure", "network.host", "device"):
                yield Found(place, f"the build of {_of(service)} gets {item}", "do without it: it lifts the build's isolation")


_DANGEROUS = {
    "BPF": "load programs into the kernel",
    "DAC_READ_SEARCH": "read any file of the machine",
    "MAC_ADMIN": "change the rules of SELinux and AppArmor",
    "MAC_OVERRIDE": "go round SELinux and AppArmor",
    "NET_ADMIN": "change its network's addresses, routes and firewall",
    "PERFMON": "watch the kernel and other processes",
    "SYSLOG": "read the kernel's log and addresses",
    "SYS_ADMIN": "mount file systems and do most of what root does",
    "SYS_BOOT": "restart the machine",
    "SYS_MODULE": "load kernel modules",
    "SYS_PTRACE": "look into other processes",
    "SYS_RAWIO": "write to devices and memory directly",
    "SYS_TIME": "set the machine's clock",
}


@GROUP.rule("all-capabilities", "warning", "A service gets all capabilities.")
def all_capabilities(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("cap_add"):
            if str(item).upper() in ("ALL", "CAP_ALL"):
                yield Found(place, f"{_of(service)} gets every capability of root", "name those that it needs")


@GROUP.rule("dangerous-capability", "warning", "A service gets a capability that reaches out of the container.")
def dangerous_capability(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("cap_add"):
            name = str(item).upper().removeprefix("CAP_")
            if name in _DANGEROUS:
                yield Found(place, f"{_of(service)} may {_DANGEROUS[name]} ({name})", "drop it, or say why it is needed")


@GROUP.rule("kept-capabilities", "note", "A service keeps the capabilities that containers have by default.")
def kept_capabilities(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if not service.get("cap_drop") and service.get("privileged") is not True:
            yield Found(service.place, f"{_of(service)} keeps all default capabilities", "cap_drop: [ALL], and add what it needs")


@GROUP.rule("privileges-can-grow", "note", "Programs of a service may gain privileges by set-user-id files.")
def privileges_can_grow(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        options = [str(item).replace(":", "=") for item in service.seq("security_opt")]
        if not any(option in ("no-new-privileges", "no-new-privileges=true") for option in options):
            yield Found(service.place, f"{_of(service)} may gain privileges by set-user-id files", "security_opt: [no-new-privileges:true]")


@GROUP.rule("root-user", "warning", "A service is told to run as root.")
def root_user(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.text("user").partition(":")[0] in ("root", "0"):
            yield Found(service.at("user"), f"{_of(service)} runs as root", "use a user without privileges, such as 1000:1000")


@GROUP.rule("user-of-image", "note", "A service runs as the user of its image, most often root.")
def user_of_image(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if not service.text("user"):
            yield Found(service.place, f"{_of(service)} runs as its image's user, which may be root", "user: 1000:1000")


@GROUP.rule("writable-root", "note", "A service may change the files of its image.")
def writable_root(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("read_only") is not True:
            yield Found(service.place, f"{_of(service)} may change every file of its image", "read_only: true, with tmpfs: [/tmp]")


_ENGINE_GROUPS = {"docker": "docker", "0": "root", "root": "root", "disk": "disk", "kmem": "kmem", "shadow": "shadow"}


@GROUP.rule("powerful-group", "warning", "A service joins a group that is as good as root.")
def powerful_group(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("group_add"):
            if str(item) in _ENGINE_GROUPS:
                yield Found(place, f"{_of(service)} joins group {_ENGINE_GROUPS[str(item)]}", "use a group of its own")


@GROUP.rule("engine-api", "warning", "A service may control the container engine.")
def engine_api(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.get("use_api_socket") is True:
            yield Found(service.key_at("use_api_socket"), f"{_of(service)} controls the engine, and with it the machine", "do without it")


# --- isolation ------------------------------------------------------------------------------------

_SHARED = {
    "pid": "sees and signals every process of the machine",
    "ipc": "shares memory with every process of the machine",
    "uts": "may change the machine's name",
    "userns_mode": "has the machine's root as its own",
    "cgroup": "sees and may change the machine's control groups",
}


@GROUP.rule("host-network", "warning", "A service uses the machine's own network.")
def host_network(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        if service.text("network_mode") == "host":
            message = f"{_of(service)} reaches everything that listens on this machine, and listens beside it"
            yield Found(service.at("network_mode"), message, "publish its ports instead")


@GROUP.rule("host-namespace", "warning", "A service is not isolated from the machine's processes, memory, name or users.")
def host_namespace(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for key, meaning in _SHARED.items():
            if service.text(key) == "host":
                yield Found(service.at(key), f"{_of(service)} {meaning} ({key}: host)", f"remove {key}")


@GROUP.rule("profile-disabled", "warning", "A service runs without seccomp, AppArmor or SELinux.")
def profile_disabled(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("security_opt"):
            name, _, value = str(item).replace(":", "=", 1).partition("=")
            if (name in ("seccomp", "apparmor") and value == "unconfined") or (name == "label" and value == "disable"):
                yield Found(
                    place,
                    f"{_of(service)} runs without {'SELinux' if name == 'label' else name}",
                    "use a profile that allows what it needs",
                )


@GROUP.rule("unmasked-paths", "warning", "A service sees parts of /proc and /sys that are hidden from containers.")
def unmasked_paths(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("security_opt"):
            name, _, value = str(item).replace(":", "=", 1).partition("=")
            if (name, value.lower()) in (("systempaths", "unconfined"), ("unmask", "all")):
                yield Found(place, f"{_of(service)} sees and may write all of /proc and /sys", "remove it")


_DEVICE = re.compile(r"/dev(?:/(?:mem|kmem|port|(?:sd|hd|vd|xvd)[a-z]\d*|nvme\d.*|mapper(?:/.*)?|dm-\d+|loop.*|disk/.*|md\d+))?/?")


@GROUP.rule("dangerous-device", "warning", "A service gets memory, a disk or all devices of the machine.")
def dangerous_device(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for node in service.nodes("devices"):
            if _DEVICE.fullmatch(node.text("source")):
                yield Found(node.at("source"), f"{_of(service)} gets {node.text('source')} of the machine", "give it only what it needs")


@GROUP.rule("all-devices-allowed", "warning", "A service may use every device.")
def all_devices_allowed(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for item, place in service.items("device_cgroup_rules"):
            kind, _, rest = str(item).partition(" ")
            if kind == "a" or (kind == "b" and rest.startswith("*:*")):
                yield Found(place, f"{_of(service)} may use every {'device' if kind == 'a' else 'disk'}", "name the device: c 188:* rw")


_OWN_SYSCTLS = frozenset((
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced", "kernel.domainname", "kernel.hostname",
))  # fmt: skip


@GROUP.rule("unsafe-sysctl", "warning", "A service sets a kernel parameter of the whole machine.")
def unsafe_sysctl(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, _, _ in service.pairs("sysctls"):
            host_network = service.text("network_mode") == "host"
            own = name in _OWN_SYSCTLS or name.startswith("fs.mqueue.") or (name.startswith("net.") and not host_network)
            if not own:
                message = f"{_of(service)} sets {name}, which is not its own but the machine's"
                yield Found(service.key_at("sysctls", name), message, "set it on the machine: /etc/sysctl.d")


# --- limits ---------------------------------------------------------------------------------------


def _unlimited(stack: Stack, keys: tuple[str, ...], limit: str, message: str, hint: str) -> Iterator[Found]:
    for service in stack.services:
        if not any(service.get(key) for key in keys) and not service.get("deploy", "resources", "limits", limit):
            yield Found(service.place, f"{_of(service)} {message}", hint)


@GROUP.rule("unlimited-memory", "note", "A service may take all memory of the machine.")
def unlimited_memory(stack: Stack) -> Iterator[Found]:
    return _unlimited(stack, ("mem_limit",), "memory", "may take all memory", "mem_limit: 512m")


@GROUP.rule("unlimited-cpu", "note", "A service may take all processors of the machine.")
def unlimited_cpu(stack: Stack) -> Iterator[Found]:
    return _unlimited(stack, ("cpus", "cpu_quota", "cpuset"), "cpus", "may take all processors", "cpus: 1.0")


@GROUP.rule("unlimited-pids", "note", "A service may start processes without end.")
def unlimited_pids(stack: Stack) -> Iterator[Found]:
    return _unlimited(stack, ("pids_limit",), "pids", "may start processes without end", "pids_limit: 200")


@GROUP.rule("protected-from-oom", "note", "A service is spared when memory runs out, so others are killed for it.")
def protected_from_oom(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        score = service.get("oom_score_adj")
        if isinstance(score, int) and score < 0:
            yield Found(service.at("oom_score_adj"), f"{_of(service)} is spared before others of the machine", "limit its memory instead")
        if service.get("oom_kill_disable") is True:
            yield Found(service.at("oom_kill_disable"), f"{_of(service)} hangs when its memory is used up", "let it be killed")


@GROUP.rule("unlimited-ulimit", "note", "A service may lock memory or write core files without limit.")
def unlimited_ulimit(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, _ in service.pairs("ulimits"):
            if name in ("core", "memlock") and (value == -1 or (isinstance(value, dict) and value.get("hard") == -1)):
                what = "lock memory" if name == "memlock" else "write core files"
                yield Found(service.key_at("ulimits", name), f"{_of(service)} may {what} without limit", "give a number")


# --- credentials ----------------------------------------------------------------------------------


Variable = tuple[Service, str, str, Place]


def _environment(stack: Stack) -> list[Variable]:
    """Names and values of variables that are written in a stack file itself."""
    return stack.once(_find_environment)


def _find_environment(stack: Stack) -> list[Variable]:
    return list(_variables(stack, "environment"))


def _variables(stack: Stack, *path: str) -> Iterator[Variable]:
    for service in stack.services:
        for name, value, place in service.pairs(*path):
            own = isinstance(value, str) and place not in stack.origins.variables and place.path in stack.sources
            if own and (service.key_at(*path, name) != place or _is_item(stack, name, place)):
                yield service, name, value, place


def _is_item(stack: Stack, name: str, place: Place) -> bool:
    """Whether NAME=VALUE stands there; what an env file gave has the place at which that file is named."""
    return stack.rest_of_line(place).lstrip("'\"").startswith(name)


@GROUP.rule("literal-credential", "note", "A password, token or key is written in the stack file.")
def literal_credential(stack: Stack) -> Iterator[Found]:
    for service, name, value, place in _environment(stack):
        if credentials.is_credential(name, value) and not credentials.is_real(value):
            message = f"{name} of {_of(service)} is written in the file, for everybody who reads it"
            yield Found(place, message, "use a secret, or ${" + re.sub(r"\W", "_", name) + "} and an env file that is not committed")


@GROUP.rule("leaked-credential", "warning", "A stack file holds a token or private key of a known form.")
def leaked_credential(stack: Stack) -> Iterator[Found]:
    hint = "revoke it, and use a secret"
    for found in (_environment(stack), _variables(stack, "build", "args"), _variables(stack, "labels")):
        for service, name, value, place in found:
            if credentials.is_real(value):
                yield Found(place, f"{name} of {_of(service)} looks like a real key or token", hint)
    for config in stack.resources("configs"):
        place = config.at("content")
        if place not in stack.origins.variables and credentials.is_real(config.text("content")):
            yield Found(place, f'config "{config.name}" holds what looks like a real key or token', hint)


@GROUP.rule("credential-in-url", "note", "A URL holds a password.")
def credential_in_url(stack: Stack) -> Iterator[Found]:
    for service, name, value, place in _environment(stack):
        if "://" in value and credentials.in_url(value):
            yield Found(place, f"the URL in {name} of {_of(service)} holds a password", "take it from a variable, or read it from a secret")


@GROUP.rule("credential-in-build", "warning", "A build argument holds a password, token or key, which stays in the image.")
def credential_in_build(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for name, value, place in service.pairs("build", "args"):
            if isinstance(value, str) and (credentials.is_credential(name, value) or credentials.in_url(value)):
                message = f"build argument {name} of {_of(service)} stays in the image's history"
                yield Found(place, message, "use build.secrets, and RUN --mount=type=secret")


@GROUP.rule("credential-in-label", "warning", "A label holds a password, token or key, which everybody can look up.")
def credential_in_label(stack: Stack) -> Iterator[Found]:
    for service, name, value, place in _variables(stack, "labels"):
        if credentials.is_credential(name, value) or credentials.in_url(value):
            yield Found(place, f"label {name} of {_of(service)} is shown to everybody who lists containers", "keep it in a secret")


@GROUP.rule("credential-in-command", "warning", "A command line holds a password, which every user of the machine can see.")
def credential_in_command(stack: Stack) -> Iterator[Found]:
    for service in stack.services:
        for key in ("command", "entrypoint"):
            text = " ".join(str(item) for item in service.seq(key))
            if "-" in text and credentials.in_command(text) and not _from_variable(stack, service, key):
                yield Found(service.at(key), f"the {key} of {_of(service)} holds a password or token", "pass it as a file or a variable")


def _from_variable(stack: Stack, service: Service, key: str) -> bool:
    return service.at(key) in stack.origins.variables or any(place in stack.origins.variables for _, place in service.items(key))


_OPEN = {
    "ALLOW_ANONYMOUS_LOGIN": "yes",
    "ALLOW_EMPTY_PASSWORD": "yes",
    "ALLOW_PLAINTEXT_LISTENER": "",
    "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD": "yes",
    "MYSQL_ALLOW_EMPTY_PASSWORD": "yes",
    "POSTGRES_HOST_AUTH_METHOD": "trust",
    "NEO4J_AUTH": "none",
}
_YES = ("1", "true", "yes", "on")


@GROUP.rule("no-password", "warning", "A database lets everybody in.")
def no_password(stack: Stack) -> Iterator[Found]:
    for service, name, value, place in _environment(stack):
        wanted = _OPEN.get(name)
        if wanted and (value == wanted or (wanted == "yes" and value.lower() in _YES)):
            yield Found(place, f"{_of(service)} lets everybody in: {name} is {value}", "set a password")


# --- neighbours -----------------------------------------------------------------------------------


@GROUP.rule("front-beside-database", "note", "What is reached from outside shares the only network with a database.")
def front_beside_database(stack: Stack) -> Iterator[Found]:
    for network, members in _members(stack).items():
        front = next((one for one in members if one.get("ports") and not database(one)), None)
        if front is None or len(members) < 3:
            continue
        for service in members:
            if database(service) and not any(network != other for other in service.map("networks")):
                message = f'{_of(service)} can be reached from "{front.name}", whose ports are published'
                yield Found(service.place, message, "put what is published and the database on different networks")
                break


def _members(stack: Stack) -> dict[str, list[Service]]:
    found: dict[str, list[Service]] = {}
    for service in stack.services:
        for network in service.map("networks"):
            found.setdefault(network, []).append(service)
    return found
