"""The built-in artifact directory: where documents are fetched from, and URLs for its files that expire.

A file BUCKET/KEY below the directory is `s3://BUCKET/KEY`, or `{base_url}/BUCKET/KEY`. Who serves the URLs
asks `verified`; the key that signs stands in a file of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from thingjobs_broker.store.files import OsFiles
from thingjobs_protocol.limits import JOB_DOCUMENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from thingjobs_broker.core.placeholders import UrlRequest

KEY_BYTES: Final = 32
UPLOADS: Final = "uploads"
"""The bucket of uploads whose document names none."""


class ArtifactDirectory:
    """A `DocumentSource` and a `UrlSigner` of the core.

    Args:
        directory: what lies below it can be fetched.
        base_url: how devices reach it, without a slash at the end.
        key: signs the URLs; see `signing_key`.
        now_ms: the service's time.

    """

    def __init__(self, directory: Path, base_url: str, key: bytes, now_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._now_ms = now_ms

    def fetch(self, url: str) -> bytes:
        """Return the file that a URL names, or a byte more than a document may have of it.

        Raises:
            OSError: it is not there or not readable, or the URL is none of this directory.

        """
        path = self._path(url)
        try:
            with path.open("rb") as file:
                return file.read(JOB_DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            # What the machine calls the file is nobody's business.
            raise OSError(error.strerror or "it cannot be read") from None

    def sign(self, request: UrlRequest) -> str:
        """Return a URL that works for one method, one file and so many seconds from now."""
        location = request.location
        path = f"{location.bucket or UPLOADS}/{location.key}"
        expires_s = self._now_ms() // 1000 + request.expires_in_seconds
        signature = self._signature(request.method, path, expires_s)
        return f"{self._base_url}/{quote(path)}?expires={expires_s}&signature={signature}"

    def verified(self, method: str, path: str, expires: str, signature: str) -> Path | None:
        """Return the file of a signed URL, None if it is forged or has expired. `path` is unquoted."""
        if not expires.isascii() or not expires.isdigit() or int(expires) * 1000 <= self._now_ms():
            return None
        if not hmac.compare_digest(self._signature(method, path, int(expires)), signature):
            return None
        try:
            return self._below(path)
        except OSError:
            return None

    def _signature(self, method: str, path: str, expires_s: int) -> str:
        text = f"{method}\n{path}\n{expires_s}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def _path(self, url: str) -> Path:
        for prefix in ("s3://", f"{self._base_url}/"):
            if url.startswith(prefix):
                return self._below(unquote(url.removeprefix(prefix)))
        message = f"expected s3://BUCKET/KEY or {self._base_url}/BUCKET/KEY"
        raise OSError(message)

    def _below(self, path: str) -> Path:
        root = self._directory.resolve()
        if "\0" not in path:
            found = (root / path).resolve()
            if found != root and found.is_relative_to(root):
                return found
        message = "it lies outside the artifact directory"
        raise OSError(message)


def signing_key(path: Path) -> bytes:
    """Return the key in a file, which is made with a new one, mode 0600, where it is missing or not whole.

    Raises:
        OSError: the file cannot be read or made.

    """
    with suppress(FileNotFoundError):
        # Half a key, or an empty one, would make signatures that others can guess.
        if len(key := path.read_bytes()) == KEY_BYTES:
            return key
    key = secrets.token_bytes(KEY_BYTES)
    aside = path.with_suffix(".tmp")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as writer:
        writer.write(key)
        writer.flush()
        os.fsync(writer.fileno())
    aside.replace(path)
    OsFiles().sync_directory(path.parent)
    return key
