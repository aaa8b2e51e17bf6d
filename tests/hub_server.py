"""A Hugging Face Hub in 200 lines: enough of its HTTP API for the real client, and its failures."""

import hashlib
import json
import threading
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub(ThreadingHTTPServer):
    """Repositories in memory: repo → {"commits": {sha: {file: bytes}}, "refs": {name: sha}}.

    Attributes:
        requests: (method, path, Range header) of everything asked.
        cut: bytes of the next large file to send before dropping the line, once.
        delay: seconds before every answer.
        status: answered to everything, in place of the file.
        tokens: repo → the token that opens it.
        claim: hash announced for every large file, in place of its own.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos, self.requests, self.tokens, self.uploads = {}, [], {}, {}
        self.cut = self.delay = self.status = self.claim = None
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo, files, ref="main"):
        entry = self.repos.setdefault(repo, {"commits": {}, "refs": {}})
        parent = entry["commits"].get(entry["refs"].get(ref), {})
        number = f"{repo} {len(entry['commits'])}"
        sha = hashlib.sha1(number.encode()).hexdigest()
        entry["commits"][sha] = {**parent, **files}
        entry["refs"][ref] = sha
        return sha

    def asked(self, method="GET", part=""):
        return [path for verb, path, _ in self.requests if verb == method and part in path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer_file()

    def do_GET(self):
        self.answer_file()

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_file(self):  # noqa: PLR0911 - one for each way to say no
        hub = self.server
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        if hub.delay:
            hub.released.wait(hub.delay)
        if hub.status:
            return self.reply(hub.status)
        if self.path.startswith("/cdn/"):
            return self.send_large(self.path.removeprefix("/cdn/"))
        repo, _, rest = unquote(self.path).strip("/").partition("/resolve/")
        if repo not in hub.repos:
            return self.reply(401, X_Error_Code="RepoNotFound")
        wanted = hub.tokens.get(repo)
        if wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            return self.reply(401, X_Error_Code="RepoNotFound")
        revision, _, name = rest.partition("/")
        commit = hub.repos[repo]["refs"].get(revision, revision)
        if commit not in hub.repos[repo]["commits"]:
            return self.reply(404, X_Error_Code="RevisionNotFound")
        data = hub.repos[repo]["commits"][commit].get(name)
        if data is None:
            return self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        if name.endswith(".safetensors"):  # kept by LFS, sent by the CDN
            sha = hashlib.sha256(data).hexdigest()
            hub.uploads[sha] = data
            return self.reply(
                302,
                Location=f"http://localhost:{hub.server_port}/cdn/{sha}",  # another host
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{hub.claim or sha}"',
                X_Linked_Size=str(len(data)),
            )
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return self.reply(200, data, X_Repo_Commit=commit, ETag=f'"{git}"')

    def send_large(self, sha):
        data, hub = self.server.uploads[sha], self.server
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if hub.cut:
            data, hub.cut = data[: hub.cut], None
            self.close_connection = True
        self.wfile.write(data[start:])

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(("POST", self.path, None))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.commit(repo, {})
            return self.json({"url": f"{self.server.url}/{repo}", "name": repo, "id": repo})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith("safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for f in files
            ]
            return self.json({"files": modes})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self.json({"transfer": "basic", "objects": self.lfs(json.loads(body))})
        if "/commit/" in self.path:
            return self.receive_commit(body)
        return self.json({})

    def lfs(self, asked):
        return [
            {
                "oid": o["oid"],
                "size": o["size"],
                "actions": {"upload": {"href": f"{self.server.url}/lfs/{o['oid']}"}},
            }
            for o in asked["objects"]
        ]

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.uploads[self.path.removeprefix("/lfs/")] = body
        self.reply(200)

    def receive_commit(self, body):
        repo = self.path.removeprefix("/api/models/").partition("/commit/")[0]
        files = {}
        for line in filter(None, body.splitlines()):
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = b64decode(item["value"]["content"])
            if item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.server.uploads[item["value"]["oid"]]
        sha = self.server.commit(repo, files)
        url = f"{self.server.url}/{repo}/commit/{sha}"
        return self.json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def json(self, content):
        self.reply(200, json.dumps(content).encode(), Content_Type="application/json")


@contextmanager
def serve():
    """A running `Hub`, stopped at the end."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        hub.shutdown()
        hub.server_close()
