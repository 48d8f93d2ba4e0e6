"""What a credential looks like where it is written. Values are judged here and never shown."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(?:password|passwd|passphrase|(?:^|[_.\-]|(?-i:(?<=[a-z0-9])(?=[A-Z])))(?:pass|pwd|(?<!tls.)secret|token|credentials?"
    r"|api[_\-]?key|private[_\-]?key|access[_\-]?key"
    r"|secret[_\-]?key|encryption[_\-]?key|signing[_\-]?key|auth[_\-]?key))"
    r"(?:[_\-]?(?:base|hash|value|default)?\d*)?$",
    re.IGNORECASE,
)
_NOT_ONE = re.compile(
    r"\s*(?:true|false|yes|no|on|off|null|none|nil|enabled?|disabled?|required|optional|random|\d{0,3}|[*x.\-_#]+|<[^>]*>|\[[^\]]*\]|\{\{.*\}\}"
    r"|[\w\-]+\.(?:key|pem|crt|cer|txt|json|jks|p12|pfx)|/run/secrets/.*|/[\w./\-]+|\.{1,2}/.*|file:.*|env:.*"
    r"|(?:your|my|put|insert|enter|add|fill|replace|set|todo)[ _\-].*)\s*",
    re.IGNORECASE | re.DOTALL,
)
_REAL = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{50,}"
    r"|\bglpat-[A-Za-z0-9_\-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9\-]{20,}"
    r"|\bsk-(?:proj-|ant-)?[A-Za-z0-9_\-]{32,}"
    r"|\b[sr]k_live_[A-Za-z0-9]{20,}"
    r"|\bAIza[A-Za-z0-9_\-]{35}\b"
    r"|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_\-]{50,}"
    r"|\bhf_[A-Za-z0-9]{30,}\b|\bdckr_pat_[A-Za-z0-9_\-]{20,}"
    r"|\bSG\.[A-Za-z0-9_\-]{20,30}\.[A-Za-z0-9_\-]{30,}"
    r"|\beyJ[A-Za-z0-9_\-]{15,500}\.eyJ[A-Za-z0-9_\-]{15,500}\.[A-Za-z0-9_\-]{20,}"
)
"""Forms that their issuers gave them, so that they can be told from anything else; bounded, so that no text takes long."""
_URL = re.compile(r"\b[a-z][a-z0-9+.\-]{0,20}://[^\s/:@'\"$]*:([^\s/@'\"$]+)@", re.IGNORECASE)
_OPTION = re.compile(
    r"(?:^|\s)(?:--?(?:[a-z0-9]+[_\-])*(?:password|passwd|pass|requirepass|masterauth|secret|token|api-?key|secret-?key))(?:=|\s+)(['\"]?)([^\s'\"$]+)\1",
    re.IGNORECASE,
)


def is_credential(name: str, value: str) -> bool:
    """Whether a variable's name asks for a secret and its value may be one."""
    return bool(_NAME.search(name)) and "$" not in value and bool(value) and not _NOT_ONE.fullmatch(value)


def is_real(value: str) -> bool:
    """Whether a value holds a secret in the form that its issuer gave it."""
    return bool(_REAL.search(value))


def in_url(value: str) -> bool:
    """Whether a value holds a URL with a password."""
    return any(not _NOT_ONE.fullmatch(found[1]) for found in _URL.finditer(value))


def in_command(command: str) -> bool:
    """Whether an option of a command line is given a secret."""
    return any(not _NOT_ONE.fullmatch(found[2]) and not found[2].startswith("-") for found in _OPTION.finditer(command))
