"""A model hub on this machine: as much of the Hugging Face hub's protocol as its own client speaks to load and push.

with hub_server() as hub:
    hub.put("org/model", {"config.json": b"{}"})
    ...  # huggingface_hub, and all that is built on it, ask this hub, with an empty cache and no login
    hub.requests  # what was asked so far
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class Repository:
    files: dict[str, bytes]
    gated: bool = False
    """Anyone sees the files' names, nobody without a token their content."""

    @property
    def commit(self) -> str:
        parts = [name.encode() + content for name, content in sorted(self.files.items())]
        return hashlib.sha1(b"".join(parts)).hexdigest()

    def has(self, revision: str) -> bool:
        return revision in ("main", self.commit)


@dataclass
class Hub:
    """The repositories of a running server."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """Method and path of each."""

    def put(self, name: str, files: dict[str, bytes] | Path, *, gated: bool = False) -> None:
        """A repository with these files, or with those of a folder."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir()}
        self.repositories[name] = Repository(files, gated)

    def get(self, path: str, token: bool) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of a GET or HEAD."""
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            name, what, revision = found[1], found[2], found[3] or "main"
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, what, revision = found[1], found[3], found[2]
        else:
            return _error(404, "EntryNotFound", "no such page")
        if (repository := self.repositories.get(name)) is None:
            return _error(401, "RepoNotFound", "Repository not found")  # the hub's 401 hides private repositories
        if not repository.has(revision):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path.startswith("/api/"):
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in repository.files.items()
            ]
            if what == "tree":
                return 200, json.dumps(tree).encode(), {}
            info = {"id": name, "sha": repository.commit, "private": False, "gated": repository.gated}
            return 200, json.dumps({**info, "siblings": [{"rfilename": file["path"]} for file in tree]}).encode(), {}
        if repository.gated and not token:
            return _error(401, "GatedRepo", f"Access to model {name} is restricted")
        if what not in repository.files:
            return _error(404, "EntryNotFound", "Entry not found")
        content = repository.files[what]
        return 200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repository.commit}

    def post(self, path: str, body: bytes, token: bool) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of a POST: those that create a repository and push a commit to it."""
        if not token:
            return _error(401, None, "Invalid username or password.")
        if path == "/api/validate-yaml":
            return 200, b'{"errors": [], "warnings": []}', {}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            if name in self.repositories:
                told = {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
                return 409, json.dumps(told).encode(), {}
            self.put(name, {})
            return 200, json.dumps({"url": f"{self.url}/{name}"}).encode(), {}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if found is None or (repository := self.repositories.get(found[1])) is None:
            return _error(404, "RepoNotFound", "Repository not found")
        if found[2] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return 200, json.dumps({"files": files}).encode(), {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                repository.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del repository.files[line["value"]["path"]]
        commit = {"commitOid": repository.commit, "commitUrl": f"{self.url}/{found[1]}/commit/{repository.commit}"}
        return 200, json.dumps({"success": True, **commit}).encode(), {}


def _error(status: int, code: str | None, message: str) -> tuple[int, bytes, dict[str, str]]:
    headers = {"X-Error-Code": code} if code else {}
    return status, json.dumps({"error": message}).encode(), {**headers, "X-Error-Message": message}


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub on a free port of this machine, which the hub's client takes for its own from here on."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization") is not None
            status, content, headers = hub.post(path, body, token) if self.command == "POST" else hub.get(path, token)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def client_of(hub: Hub, cache: Path, *, token: str | None = None) -> Iterator[None]:
    """Within it, the hub's client in this process asks `hub`, keeps files under `cache` and has this token alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("HF_TOKEN", raising=False)
        patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        if token is not None:
            patch.setenv("HF_TOKEN", token)
        yield
