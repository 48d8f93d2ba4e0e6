"""The pulling half of the OCI distribution protocol (v2), blocking.

One `RegistryClient` serves one repository for one pull, from several threads.  Foreign exceptions end
here: what leaves is NotFound, Unauthorized, RegistryError (with a hint), or `Interrupted` for a
transfer that may be taken up again.

Sources: distribution-spec 1.1 "Pull", RFC 9110 (ranges), RFC 7235.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from stackrun.errors import InvalidArgument, NotFound, RegistryError, StackrunError, Unauthorized
from stackrun.image import auth
from stackrun.image.manifest import ACCEPTED, SIZE_MAX_BYTES
from stackrun.image.record import Credentials
from stackrun.image.reference import DEFAULT_DOMAIN, Reference

_DOCKER_HUB_HOST = "registry-1.docker.io"
_CONNECT_AND_READ_TIMEOUT_S = 60.0
_USER_AGENT = "stackrun"


class Interrupted(RegistryError):
    """The connection broke in the middle, or the registry is overloaded: asking again makes sense."""


@dataclass(frozen=True, slots=True)
class Fetched:
    data: bytes
    media_type: str


class BlobStream:
    """A blob's bytes from `offset` on; iterate once. It ends quietly when the peer hangs up early: compare with the size."""

    def __init__(self, response: http.client.HTTPResponse, offset: int, host: str) -> None:
        self.offset = offset
        self._response = response
        self._host = host

    def __iter__(self) -> Iterator[bytes]:
        with _translated(self._host):
            while chunk := self._response.read1(1 << 18):
                yield chunk


def is_loopback(domain: str) -> bool:
    """localhost and 127.0.0.0/8 (and ::1), which Docker lets speak plain HTTP unasked."""
    host = _host_of(domain)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(domain: str) -> str:
    return domain.partition("]")[0].removeprefix("[") if domain.startswith("[") else domain.partition(":")[0]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """No way from https to anything less, where others could read and write along."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise RegistryError(f"registry {req.host} redirects from {req.type} to {scheme}: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class RegistryClient:
    def __init__(self, reference: Reference, credentials: Credentials | None, insecure_registries: tuple[str, ...] = ()) -> None:
        self.reference = reference
        self.host = _DOCKER_HUB_HOST if reference.domain == DEFAULT_DOMAIN else reference.domain
        self._credentials = credentials if credentials and (credentials.username or credentials.identity_token) else None
        self._may_be_plain = is_loopback(reference.domain) or _listed(reference.domain, insecure_registries)
        self._opener = self._make_opener()
        self._authorization = ""
        self._lock = threading.Lock()
        self._base = ""

    def _make_opener(self) -> urllib.request.OpenerDirector:
        context = ssl.create_default_context()
        if self._may_be_plain:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        proxies: dict[str, str] | None = {} if is_loopback(self.reference.domain) else None  # None: those of the environment
        opener = urllib.request.OpenerDirector()  # build_opener's would also know file:, ftp: and data:
        for handler in (
            urllib.request.ProxyHandler(proxies), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(context=context), _Redirects(),
            urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
        ):  # fmt: skip
            opener.add_handler(handler)
        return opener

    # --- what a pull asks for ---

    def manifest(self, tag_or_digest: str) -> Fetched:
        """A manifest or an index; NotFound in Docker's words when there is none."""
        with self._request(f"manifests/{tag_or_digest}", {"Accept": ACCEPTED}) as response, _translated(self.host):
            data = response.read(SIZE_MAX_BYTES + 1)
            if len(data) > SIZE_MAX_BYTES:
                raise RegistryError(f"the manifest of {self.reference.familiar} is larger than {SIZE_MAX_BYTES} bytes")
            return Fetched(data, response.headers.get("Content-Type", ""))

    @contextmanager
    def blob(self, digest: str, offset: int = 0) -> Iterator[BlobStream]:
        """From `offset` on if the registry can (RFC 9110 section 14), else from the start: see the stream's offset."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._request(f"blobs/{digest}", headers) as response:
            begins_at = _range_start(response) if response.status == 206 else 0
            yield BlobStream(response, begins_at, self.host)

    # --- requests ---

    def _request(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        base = self._base_url()
        url = f"{base}/v2/{self.reference.path}/{path}"
        for last_try in (False, True):
            used = self._authorization
            try:
                return self._open(url, headers, used)
            except urllib.error.HTTPError as error:
                with error:
                    if error.url != url and error.code in (401, 403):
                        # Whoever the registry has redirected to is not to say who gets the password.
                        elsewhere = urllib.parse.urlsplit(error.url).netloc
                        raise RegistryError(f"registry {self.host} redirects to {elsewhere}, which answers {error.code}") from None
                    if error.code == 401 and not last_try:
                        self._authenticate(auth.parse_challenge(error.headers.get("WWW-Authenticate", "")), used)
                        continue
                    raise self._refused(error, path) from None
        raise AssertionError("unreachable")

    def _base_url(self) -> str:
        """https, unless this registry may speak plain HTTP and does; found out once."""
        with self._lock:
            if not self._base:
                self._base = f"https://{self.host}"
                if self._may_be_plain and not self._speaks_tls():
                    self._base = f"http://{self.host}"
            return self._base

    def _speaks_tls(self) -> bool:
        try:
            with self._open(f"https://{self.host}/v2/", {}, ""):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except RegistryError as error:
            return not isinstance(error.__cause__, (ssl.SSLError, http.client.HTTPException, ConnectionResetError))

    def _open(self, url: str, headers: dict[str, str], authorization: str) -> http.client.HTTPResponse:
        request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT, **headers})
        if authorization:
            # "Unredirected": blobs are often redirected to another host, which has no business with our token.
            request.add_unredirected_header("Authorization", authorization)
        with _translated(self.host):
            response: http.client.HTTPResponse = self._opener.open(request, timeout=_CONNECT_AND_READ_TIMEOUT_S)
            return response

    # --- authentication ---

    def _authenticate(self, challenge: auth.Challenge, used: str) -> None:
        with self._lock:
            if self._authorization != used:
                return  # another thread has just done it
            if challenge.scheme == "bearer":
                self._authorization = f"Bearer {self._token(challenge)}"
            elif challenge.scheme == "basic" and self._credentials and not used:
                self._authorization = auth.basic(self._credentials)
            else:
                raise self._denied("")

    def _token(self, challenge: auth.Challenge) -> str:
        asked = auth.token_request(challenge, f"repository:{self.reference.path}:pull", self._credentials)
        if self._credentials and self._base.startswith("https:") and not asked.url.startswith("https:"):
            raise RegistryError(f"registry {self.host} asks for the password at {challenge.realm!r}, which is not https: refused")
        request = urllib.request.Request(asked.url, data=asked.form, headers={"User-Agent": _USER_AGENT})
        if asked.authorization:
            request.add_unredirected_header("Authorization", asked.authorization)
        try:
            with _translated(asked.url), self._opener.open(request, timeout=_CONNECT_AND_READ_TIMEOUT_S) as response:
                answer = json.loads(response.read(SIZE_MAX_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 403):
                    raise self._denied(_error_text(error)) from None
                raise RegistryError(f"token server of {self.host} answers {error.code} {error.reason}") from None
        except ValueError:
            raise RegistryError(f"token server of {self.host} does not answer in JSON") from None
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise RegistryError(f"token server of {self.host} answers without a token")
        return token

    def _denied(self, detail: str) -> StackrunError:
        """Registries do not tell "no such repository" from "not for you"; Docker says both, as a 404."""
        if self._credentials:
            text = f"unauthorized: {detail or 'incorrect username or password'}"
            return Unauthorized(f"registry {self.host}: {text}", hint=f"log in again: docker login {self.reference.domain}")
        return NotFound(
            f"pull access denied for {self.reference.familiar_name}, repository does not exist or may require 'docker login'"
            + (f": {detail}" if detail else ""),
            hint="check the name, or log in to the registry",
        )

    def _refused(self, error: urllib.error.HTTPError, path: str) -> StackrunError:
        detail = _error_text(error)
        if error.code in (401, 403):
            return self._denied(detail)
        if error.code == 404 and path.startswith("manifests/"):
            return NotFound(f"manifest for {self.reference.familiar} not found: {detail or 'manifest unknown: manifest unknown'}")
        if error.code == 404:
            return RegistryError(f"registry {self.host} does not have {path} that its manifest names", hint="push the image again")
        if error.code == 429:
            return RegistryError(f"registry {self.host}: too many requests: {detail}", hint="wait, or log in for a higher limit")
        text = f"registry {self.host} answers {error.code} {error.reason}" + (f": {detail}" if detail else "")
        return Interrupted(text) if error.code >= 500 or error.code == 416 else RegistryError(text)


def _listed(domain: str, registries: tuple[str, ...]) -> bool:
    """A configured insecure registry: `host`, `host:port` or a network such as 10.0.0.0/8."""
    host = _host_of(domain)
    for entry in registries:
        if entry in (domain, host):
            return True
        try:
            if "/" in entry and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a host name is in no network
    return False


def _range_start(response: http.client.HTTPResponse) -> int:
    value = response.headers.get("Content-Range", "")
    start = value.removeprefix("bytes ").partition("-")[0]
    if not start.isdecimal() or len(start) > 20:
        raise RegistryError(f"the registry answers a range request with {value!r}")
    return int(start)


def _error_text(error: urllib.error.HTTPError) -> str:
    """`code: message` of the first error in the body, in lower case with spaces, as Docker prints it; empty when there is none."""
    try:
        body = json.loads(error.read(65536))
        first: dict[str, Any] = body["errors"][0]
        code = str(first["code"]).lower().replace("_", " ")
        return f"{code}: {first.get('message') or code}"
    except (ValueError, LookupError, TypeError, OSError, http.client.HTTPException):
        return ""


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Network failures → RegistryError with what to do; HTTPError (an answer, after all) passes."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        reason = error.reason if isinstance(error.reason, Exception) else error
        raise _network_error(host, reason) from reason
    except (OSError, http.client.HTTPException) as error:
        raise _network_error(host, error) from error
    except ValueError as error:  # a redirect or a realm that is no URL
        if isinstance(error, InvalidArgument):
            raise
        raise RegistryError(f"registry {host}: {error}") from error


def _network_error(host: str, error: Exception) -> RegistryError:
    if isinstance(error, ConnectionRefusedError):
        return RegistryError(f"registry {host}: connection refused", hint="is the registry running, and is this its port?")
    if isinstance(error, socket.gaierror):
        return RegistryError(f"registry {host}: no such host", hint="check the name, and the name servers in /etc/resolv.conf")
    if isinstance(error, ssl.SSLCertVerificationError):
        return RegistryError(
            f"registry {host}: its certificate is not trusted: {error.verify_message}",
            hint="install its CA certificate on this machine, or list it as an insecure registry",
        )
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return RegistryError(f"registry {host} speaks plain HTTP, not TLS", hint="list it as an insecure registry if you trust the network")
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return RegistryError(f"registry {host}: TLS failed: {error.reason or error}")
    if isinstance(error, TimeoutError):
        return Interrupted(f"registry {host}: no answer within {_CONNECT_AND_READ_TIMEOUT_S:g} s", hint="check the network and the proxy")
    if isinstance(error, OSError) and not isinstance(error, (ConnectionError, ssl.SSLError)):
        return RegistryError(f"registry {host}: {error.strerror or error}", hint="check the network")
    return Interrupted(f"registry {host}: the connection broke: {error or type(error).__name__}")
