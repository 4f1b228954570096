"""The HTTP around the protocols, on this machine only."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import chat_completions, messages, responses
from .script import Astray, Reply

PROTOCOLS = (chat_completions, responses, messages)

# A request may not be larger, in bytes.
LARGEST = 64 * 1024 * 1024


class Model:
    """Serves a script while it is entered. `astray` tells where a conversation left it."""

    def __init__(self, script, port=0):
        self.script = script
        self.astray = []
        # The name of the protocol and the turn of every request.
        self.turns = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), handler(self))
        self.server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def reply(self, protocol, turn):
        self.turns.append((protocol.__name__.rpartition(".")[2], turn))
        try:
            return self.script.reply(turn)
        except Astray as astray:
            self.astray.append(str(astray))
            # In words, since clients try again after an error.
            return Reply(text=f"I am astray: {astray}")


def handler(model):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            length = int(self.headers.get("content-length") or 0)
            if length > LARGEST:
                return self.document(413, {"error": {"message": "too large"}})
            body = self.rfile.read(length)
            path = self.path.partition("?")[0].rstrip("/")
            if path.endswith("/count_tokens"):
                return self.document(200, {"input_tokens": 1})
            for protocol in PROTOCOLS:
                if path.endswith(protocol.PATHS):
                    return self.answer(protocol, body)
            return self.document(404, {"error": {"message": f"no such path: {path}"}})

        def do_GET(self):
            if self.path.partition("?")[0].endswith("/models"):
                one = {"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}
                return self.document(200, {"object": "list", "data": [one]})
            return self.document(404, {"error": {"message": f"no such path: {self.path}"}})

        def do_HEAD(self):
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def answer(self, protocol, body):
            try:
                turn = protocol.turn(json.loads(body))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                return self.document(400, {"error": {"message": f"not understood: {error!r}"}})
            reply = model.reply(protocol, turn)
            if not turn.streaming:
                return self.document(200, protocol.whole(reply, turn))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for kind, document in protocol.events(reply, turn):
                words = document if isinstance(document, str) else json.dumps(document)
                event = f"event: {kind}\n" if kind else ""
                self.wfile.write(f"{event}data: {words}\n\n".encode())
                self.wfile.flush()
            self.close_connection = True

        def document(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Says nothing: standard error belongs to the test."""

    return Handler
