"""A stand-in for the hub of Hugging Face: a server on this machine that answers `huggingface_hub`."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

Files = dict[str, bytes]
TOKEN = "hf_of_the_test"


@dataclass
class Repository:
    """A repository: the commits of its branches and tags, and the files of each commit."""

    private: bool | None = None
    gated: bool = False
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)

    def commit(self, ref: str, files: Files) -> str:
        names = [f"{name} {hashlib.sha1(content).hexdigest()}" for name, content in sorted(files.items())]
        sha = hashlib.sha1("\n".join([str(len(self.commits)), *names]).encode()).hexdigest()
        self.refs[ref], self.commits[sha] = sha, files
        return sha

    def find(self, revision: str) -> str | None:
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class LocalHub:
    """What the server has and was asked for.

    Attributes:
        address: its address.
        repositories: owner/name -> repository.
        requests: method and path of each request, in order.
        commits: header and query of each commit.
    """

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)

    def files(self, name: str, ref: str = "main") -> Files:
        """The files at a branch."""
        repository = self.repositories[name]
        return repository.commits[repository.refs[ref]]

    def add(self, name: str, folder: Path, ref: str = "main", **more: bytes) -> None:
        """Puts the files of a folder into a repository, as if they had been uploaded."""
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        self.repositories.setdefault(name, Repository()).commit(ref, {**files, **more})


class _RefusalError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", name: str = "") -> None:
        self.status, self.code, self.message, self.name = status, code, message, name


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, format: str, *args: Any) -> None:
        """Is quiet."""

    def _answer(self) -> None:
        url = urlparse(self.path)
        path, body = unquote(url.path), self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.tokens.add(self.headers.get("Authorization"))
        try:
            for method, pattern, function in _ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in method.split():
                    found = function(self, *match.groups(), body, parse_qs(url.query))
                    break
            else:
                raise _RefusalError(404)
            headers, content = found if isinstance(found, tuple) else ({}, json.dumps(found).encode())
            status = 200
        except _RefusalError as refusal:
            address = f"{self.hub.address}/{refusal.name}"
            status, content = refusal.status, json.dumps({"error": refusal.message, "url": address}).encode()
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815 - the names that the base class calls

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _repository(self, name: str) -> Repository:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and self.headers.get("Authorization") is None):
            raise _RefusalError(401, "RepoNotFound", "Repository not found")
        if found.gated:
            raise _RefusalError(403, "GatedRepo", "Access to this model is restricted")
        return found

    def _commit(self, name: str, revision: str) -> tuple[str, Files]:
        repository = self._repository(name)
        sha = repository.find(revision)
        if sha is None:
            raise _RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha, repository.commits[sha]

    def create(self, body: bytes, _: Any) -> Any:
        asked = json.loads(body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise _RefusalError(401, message="Invalid username or password.")
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.hub.repositories:
            raise _RefusalError(409, message="You already created this model repo", name=name)
        private = {"private": True, "public": False}.get(asked.get("visibility"))
        self.hub.repositories[name] = Repository(private)
        self.hub.repositories[name].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return {"url": f"{self.hub.address}/{name}", "name": name}

    def validate(self, body: bytes, _: Any) -> Any:
        assert json.loads(body)["content"].startswith("---\n")
        return {"errors": [], "warnings": []}

    def preupload(self, name: str, revision: str, body: bytes, _: Any) -> Any:
        self._commit(name, revision)
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in names}
        return {"files": [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in names]}

    def batch(self, name: str, body: bytes, _: Any) -> Any:
        address = f"{self.hub.address}/upload"
        return {
            "transfer": "basic",
            "objects": [
                {**file, "actions": {"upload": {"href": f"{address}/{file['oid']}"}}}
                for file in json.loads(body)["objects"]
            ],
        }

    def put(self, oid: str, body: bytes, _: Any) -> Any:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large[oid] = body
        return {}

    def commit(self, name: str, revision: str, body: bytes, query: Any) -> Any:
        _, before = self._commit(name, revision)
        files, header = dict(before), {}
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                header = value
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        ref = "refs/pr/1" if "create_pr" in query else revision
        sha = self.hub.repositories[name].commit(ref, files)
        self.hub.commits.append({**header, "ref": ref})
        address = f"{self.hub.address}/{name}"
        pull_request = {"pullRequestUrl": f"{address}/discussions/1"} if "create_pr" in query else {}
        return {"success": True, "commitOid": sha, "commitUrl": f"{address}/commit/{sha}", **pull_request}

    def info(self, name: str, revision: str | None, *_: Any) -> Any:
        sha, files = self._commit(name, revision or "main")
        return {"id": name, "sha": sha, "siblings": [{"rfilename": path} for path in files]}

    def tree(self, name: str, revision: str, *_: Any) -> Any:
        _sha, files = self._commit(name, revision)
        return [
            {
                "type": "file",
                "path": path,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }
            for path, content in files.items()
        ]

    def resolve(self, name: str, revision: str, path: str, *_: Any) -> Any:
        sha, files = self._commit(name, revision)
        if path not in files:
            raise _RefusalError(404, "EntryNotFound")
        etag = hashlib.sha1(files[path]).hexdigest()
        return {"X-Repo-Commit": sha, "ETag": f'"{etag}"'}, files[path]


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("POST", f"/api/models/{_NAME}/preupload/(.+)", _Handler.preupload),
    ("POST", f"/{_NAME}.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/upload/(\w+)", _Handler.put),
    ("POST", f"/api/models/{_NAME}/commit/(.+)", _Handler.commit),
    ("GET", f"/api/models/{_NAME}/revision/(.+)", _Handler.info),
    ("GET", f"/api/models/{_NAME}()", _Handler.info),
    ("GET", f"/api/models/{_NAME}/tree/(.+)", _Handler.tree),
    ("GET HEAD", f"/{_NAME}/resolve/([^/]+)/(.+)", _Handler.resolve),
)


@contextmanager
def local_hub(cache: Path) -> Iterator[LocalHub]:
    """Inside, `huggingface_hub` asks a server on this machine, and keeps its downloads in `cache`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    handler = type("Handler", (_Handler,), {"hub": LocalHub(address)})
    server.RequestHandlerClass = handler
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "ENDPOINT": address,
                "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
                "HF_HUB_CACHE": str(cache),
                "HF_HUB_DISABLE_XET": True,
                "HF_HUB_OFFLINE": False,
            }.items():
                patch.setattr(constants, name, value)
            patch.setenv("HF_TOKEN", TOKEN)
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                patch.delenv(name, raising=False)
                patch.delenv(name.upper(), raising=False)
            disable_progress_bars()
            yield handler.hub
    finally:
        enable_progress_bars()
        close_session()  # connections that stay open would be served by their threads
        server.shutdown()
        server.server_close()
        thread.join()
