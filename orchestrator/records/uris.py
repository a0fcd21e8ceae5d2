"""The URI of a store, as pyarrow reads it and as fsspec's filesystem for the same place is asked for."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import pyarrow.fs as pafs

from engine.errors import InputError, first_line

NATIVE = {"s3": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfs", "hdfs": "", "viewfs": ""}
"""Protocols that pyarrow opens itself, and what fsspec calls those that it opens too; it opens all others."""

IMMATERIAL = {"allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "smart_defaults"} | {
    "retry_limit_seconds",
    "background_writes",
}
"""Options of pyarrow's URIs that say nothing of where a file is, nor of who may write it."""

AZURE = ("dfs.core.windows.net", "blob.core.windows.net")

ENDPOINT = {"blob_storage_authority", "dfs_storage_authority", "enable_tls", "the host"}
"""What pyarrow can be told of another place than Azure's own, and adlfs only by its environment."""


def from_uri(location: str, protocol: str) -> tuple[pafs.FileSystem, str]:
    """A URI's filesystem and the folder in it, as the library says that opens it."""
    if protocol in NATIVE:
        filesystem, folder = pafs.FileSystem.from_uri(location)
    else:
        import fsspec

        opened, folder = fsspec.core.url_to_fs(location)
        filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(opened))
    return filesystem, folder.rstrip("/")


def for_fsspec(location: str) -> dict[str, Any]:
    """The options of fsspec's filesystem that make it the one that pyarrow opens by a URI.

    >>> for_fsspec("s3://key:se%2Fcret@bucket/folder?endpoint_override=host:9000&scheme=http")
    {'key': 'key', 'secret': 'se/cret', 'endpoint_url': 'http://host:9000', 'use_ssl': False}

    Raises:
        InputError: there are none.
    """
    uri = urlsplit(location)
    asked = {name: value for name, value in parse_qsl(uri.query) if name not in IMMATERIAL}
    of = {"s3": _of_s3, "gs": _of_gs, "abfs": _of_azure}[NATIVE[uri.scheme]]
    options = _given(of(uri, asked))
    if asked:
        package = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}[NATIVE[uri.scheme]]
        legal = f"a URI without {', '.join(sorted(asked))}, which {package} cannot be given to create claims"
        if package == "adlfs":
            legal += "; az://CONTAINER/FOLDER with AZURE_STORAGE_CONNECTION_STRING can have any endpoint"
        raise InputError("store", shown(location), legal)
    return options


def _of_s3(uri: SplitResult, asked: dict[str, str]) -> dict[str, Any]:
    """Options of s3fs; what it takes is taken out of ``asked``."""
    scheme, region = asked.pop("scheme", "https"), asked.pop("region", "")
    authority, verified = asked.pop("tls_ca_file_path", ""), asked.pop("tls_verify_certificates", "true")
    verify = authority if verified.lower() in ("true", "1") else False
    options = {
        "key": unquote(uri.username or ""),
        "secret": unquote(uri.password or ""),
        "endpoint_url": _endpoint(scheme, asked.pop("endpoint_override", "")),
        "client_kwargs": _given({"region_name": region, "verify": verify}),
    }
    return options if scheme == "https" else options | {"use_ssl": False}


def _of_gs(uri: SplitResult, asked: dict[str, str]) -> dict[str, Any]:
    """Options of gcsfs; what it takes is taken out of ``asked``."""
    scheme = asked.pop("scheme", "https")
    return {
        "token": "anon" if uri.username == "anonymous" else "",
        "endpoint_url": _endpoint(scheme, asked.pop("endpoint_override", "")),
        "project": asked.pop("project_id", ""),
    }


def _of_azure(uri: SplitResult, asked: dict[str, str]) -> dict[str, Any]:
    """Options of adlfs; what it takes is taken out of ``asked``, and an endpoint of one's own put into it."""
    account, _, domain = (uri.hostname or "").partition(".")
    if domain not in AZURE:  # account@container, or account@host.domain:port/container
        account = unquote(uri.username or "")
        if domain or uri.port:
            asked["the host"] = uri.netloc
    secrets = {name: asked.pop(name, "") for name in ("tenant_id", "client_id", "client_secret")}
    anonymous = asked.pop("credential_kind", "") == "anonymous"
    token = {name: asked.pop(name) for name in list(asked) if name not in ENDPOINT}  # pyarrow's rule too
    about = {"account_name": account, "account_key": unquote(uri.password or ""), "anon": anonymous}
    return about | secrets | {"sas_token": urlencode(token)}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in ("", {})}


def _endpoint(scheme: str, host: str) -> str:
    return host if "://" in host or not host else f"{scheme}://{host}"


def shown(uri: str) -> str:
    """A URI as an error shows it: without a password, and without its options, which may hold one.

    >>> shown("s3://key:secret@bucket/folder?region=x"), shown("abfs://c@account.dfs.core.windows.net/f")
    ('s3://key:***@bucket/folder?...', 'abfs://c@account.dfs.core.windows.net/f')
    """
    bare = re.sub(r"(?<=//)([^:@/]*):.*@", r"\1:***@", uri)
    return re.sub(r"\?.*", "?...", bare)


def said(error: Exception, uri: str) -> str:
    """What a library says of a URI, in one line; a password that it could not parse may stand in it."""
    password = re.search(r"(?<=//)[^:@/]*:(.*)@", uri)
    if password and re.search(r"[/?#]", password[1]):
        return "a password's / ? # are written %2F %3F %23"
    return first_line(error).replace(uri, shown(uri))
