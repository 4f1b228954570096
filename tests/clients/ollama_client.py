"""`pyro demo ollama`, whose model is a scripted one."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from hosts import Model, Script, alone

from world import PYRO

# Only a guest knows its kernel.
KERNEL = r"(\d+\.\d+\.\d+[\w+.-]*)\\n"


def call(command, **more):
    return {"call": "vm_run", "arguments": {"environment": "debian:12", "command": command} | more}


def demo(world, url, *flags):
    ran = world.run(
        [PYRO, "demo", "ollama", "--base-url", url, "--model", "scripted", *flags], **alone(None)
    )
    # Every line, errors included.
    assert ran.stderr == "", ran
    return ran


def played(world, steps, *flags):
    with Model(Script(steps)) as model:
        ran = demo(world, f"{model.url}/v1", *flags)
        assert not model.astray, (model.astray, ran)
        return ran, [turn for name, turn in model.turns if name == "chat_completions"]


def test_a_model_runs_a_command_in_a_vm(world):
    run = call("uname -r", allow_host_compat=world.on_host)
    found = {"expect": '"exit_code":0'} | ({} if world.on_host else {"capture": {"kernel": KERNEL}})
    ran, turns = played(world, [run | found, {"say": "It is {kernel}."}], "--verbose")
    assert ran.returncode == 0, ran
    lines = ran.stdout.splitlines()
    assert lines[0] == "[model] scripted" and lines[1].startswith("[question] "), ran
    assert '[call] vm_run "{\\"environment\\": \\"debian:12\\"' in ran.stdout, ran
    assert lines[-1] == f"[answer] It is {json.loads(turns[-1].results['call_scripted_0'])['stdout'].strip()}.", ran
    assert [len(turn.results) for turn in turns] == [0, 1]


def test_a_model_reads_why_its_call_was_refused(world):
    wrong = call("true", environment="debian:99") | {"expect": '(?=.*"ok":false)(?=.*unknown_environment)'}
    unknown = {"call": "vm_run", "arguments": {"command": "true"}, "expect": "environment"}
    ran, turns = played(world, [wrong, unknown, {"say": "I give up."}])
    assert [len(turn.results) for turn in turns] == [0, 1, 2]
    # It said something, but looked nothing up.
    assert ran.returncode == 1, ran
    assert "[answer] I give up." in ran.stdout
    assert "[error] The model `scripted` did not solve the task" in ran.stdout, ran
    assert "hint: " in ran.stdout, ran


def test_a_model_that_does_not_stop_is_stopped(world):
    again = call("true", environment="debian:99")
    ran, turns = played(world, [again] * 40)
    assert (ran.returncode, len(turns)) == (1, 12), ran
    assert "within 12 rounds" in ran.stdout, ran


def test_nothing_listens(world):
    # Nobody listens at it, and nobody else gets it meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ran = demo(world, f"http://127.0.0.1:{port}/v1")
    assert ran.returncode == 1, ran
    assert f"[error] No model server answers at http://127.0.0.1:{port}/v1" in ran.stdout, ran
    assert "ollama serve" in ran.stdout and "ollama pull scripted" in ran.stdout, ran


def test_addresses_that_are_none(world):
    for wrong in ["localhost:11434", "https://127.0.0.1/v1", ""]:
        ran = demo(world, wrong)
        assert ran.returncode == 1, ran
        assert "[error] base-url must begin with `http://`" in ran.stdout, ran


def test_a_server_that_refuses_or_talks_nonsense(world):
    for status, body, words in [
        (404, '{"error": {"message": "model \\"scripted\\" not found"}}', 'not found'),
        (200, "<html>hello</html>", "<html>hello</html>"),
        (200, '{"choices": []}', "choices"),
        (500, "", "status 500"),
    ]:
        with answering(status, body) as url:
            ran = demo(world, f"{url}/v1")
        assert ran.returncode == 1, ran
        assert words in ran.stdout and "--model" in ran.stdout, ran


class answering:
    """A server with the same answer for everybody."""

    def __init__(self, status, body):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                """Says nothing: standard error belongs to the test."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
