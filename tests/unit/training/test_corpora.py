"""Corpora: the standard library's text, files, addresses held to their hash; windows of them."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from spak_runtime.training import spec
from spak_runtime.training.corpus import CharacterData, read_source
from spak_runtime.training.spec import TrainingError
from tests.unit.models.compiled import NANOGPT, adders, compile_path, compile_text


class Web(http.server.ThreadingHTTPServer):
    """A web server on this machine: `/text` is `content`, `/broken` no HTTP."""

    content = b""
    requests = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)

    def source(self, content: bytes) -> dict[str, str]:
        """What is now behind the address, as a file would say it."""
        self.content = content
        address = f"http://127.0.0.1:{self.server_address[1]}/text"
        return {"kind": "url", "url": address, "sha256": hashlib.sha256(content).hexdigest()}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Web)
        self.server.requests += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/broken":
            self.wfile.write(b"no HTTP at all\r\n\r\n")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The server, asked without a proxy; downloads are kept in a folder of the test."""
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_standard_library_is_read_not_imported():
    import sys

    sys.modules.pop("this", None)
    text = read_source({"kind": "corpus", "name": "this"}, Path())
    assert "Gur Mra bs Clguba" in text and "this" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_module", "os.path.x", "../secret", "", "site-packages.torch"])
def test_nothing_else_is_a_corpus(name: str):
    with pytest.raises(TrainingError):
        read_source({"kind": "corpus", "name": name}, Path())


def test_a_download_is_held_to_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path)
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "00").write_text("planted")
    with pytest.raises(TrainingError, match="hash"):
        read_source({"kind": "url", "url": "https://localhost/x", "sha256": "00"}, Path())


def test_a_file_is_relative_to_its_base(tmp_path: Path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "poem.txt").write_text("Größe 😀\n", encoding="utf-8")
    assert read_source({"kind": "file", "path": "texts/poem.txt"}, tmp_path) == "Größe 😀\n"


@pytest.mark.parametrize("content", [None, b"\xff\xfe not UTF-8"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "poem.txt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"cannot read the corpus .*poem\.txt"):
        read_source({"kind": "file", "path": "poem.txt"}, tmp_path)


def test_an_address(web: Web):
    """Downloaded once, then read from the cache."""
    source = web.source(b"to be or not to be")
    assert read_source(source, Path()) == "to be or not to be"
    web.content = b"something else"
    assert read_source(source, Path()) == "to be or not to be"
    assert web.requests == 1


def test_a_download_with_another_hash(web: Web):
    source = web.source(b"to be or not to be")
    web.content = b"tampered with"
    for _ in range(2):  # nothing of it is kept
        with pytest.raises(TrainingError, match=f"has the hash .*, but the file says {source['sha256']}"):
            read_source(source, Path())
    assert web.requests == 2


def test_an_address_of_something_else(web: Web):
    with pytest.raises(TrainingError, match="no text in UTF-8"):
        read_source(web.source(b"\xff\xfe"), Path())


@pytest.mark.parametrize("path", ["/missing", "/broken"])
def test_an_address_that_does_not_answer(web: Web, path: str):
    source = web.source(b"text")
    with pytest.raises(TrainingError, match="cannot download"):
        read_source({**source, "url": source["url"].rpartition("/")[0] + path}, Path())


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://localhost/x", "poem.txt"])
def test_only_web_addresses(address: str):
    with pytest.raises(TrainingError, match="no web address"):
        read_source({"kind": "url", "url": address, "sha256": "0" * 64}, Path())


def test_a_vocabulary_is_filled_up(tmp_path: Path):
    corpus = small_corpus(tmp_path, ", vocabulary = 20")
    assert len(corpus.vocabulary) == 20 and corpus.vocabulary.decode([0, 19]) == " <unused 19>"
    with pytest.raises(TrainingError, match="the text has 16 characters, but the vocabulary 7 tokens"):
        small_corpus(tmp_path / "small", ", vocabulary = 7")


def test_a_corpus_outside_of_the_project_is_not_read(tmp_path: Path):
    small_corpus(tmp_path / "inside", "")
    (tmp_path / "secret.txt").write_text("the quick brown fox")
    (tmp_path / "inside" / "link.txt").symlink_to(tmp_path / "secret.txt")
    for name in ("../secret.txt", str(tmp_path / "secret.txt"), "link.txt"):
        with pytest.raises(TrainingError, match="outside of the project"):
            read_source({"kind": "file", "path": name}, tmp_path / "inside")


def small_corpus(folder: Path, vocabulary: str) -> CharacterData:
    text = (
        adders()
        .replace("data sums   protocol steps", "data poem")
        .replace("batch = 16", "batch = 16, context = 8")
    )
    text += f"""dataset poem {{ text characters(file("poem.txt"){vocabulary})
        split train fraction 90%  split rest fraction 10% }}"""
    experiment = spec.read(compile_text(text).write(folder) / "stack")
    (folder / "poem.txt").write_text("the quick brown fox")
    return CharacterData(experiment.data, folder)


def test_windows(tmp_path: Path):
    experiment = spec.read(compile_path(NANOGPT).write(tmp_path) / "baby")
    corpus = CharacterData(experiment.data, tmp_path)
    whole = sum(len(part) for part in corpus.parts.values())
    assert len(corpus.parts["train"]) == pytest.approx(0.9 * whole, abs=2)
    stream = corpus.batches(4, 0, 32)
    batches = [next(stream) for _ in range(5)]
    assert torch.equal(batches[4].inputs, next(corpus.batches(4, 0, 32, start=4)).inputs)
    assert torch.equal(batches[0].inputs[:, 1:], batches[0].targets[:, :-1])
    validation = corpus.evaluation("validation", 32, 10)
    text = corpus.vocabulary.decode(validation.inputs[0].tolist())
    assert text == corpus.vocabulary.decode(corpus.parts["validation"][:32].tolist())
