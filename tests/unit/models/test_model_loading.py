import json
import subprocess
import sys

import pytest
from tiny_model import make_module, save_tiny

from selfchallenge.errors import MissingExtraError, ModelError, UsageError
from selfchallenge.models.base import Message, Model, Prompt, Sampling
from selfchallenge.models.loading import load_model
from selfchallenge.models.quiet import without_future_warnings


def quiet(_):
    pass


def test_scripted():
    model = load_model("scripted:echo")
    assert isinstance(model, Model)
    assert model.generate([Prompt((Message("user", "a"),))], Sampling())[0].text == "a"


def test_openai():
    model = load_model("openai:qwen@http://localhost:1/v1")
    assert isinstance(model, Model)
    assert model.name == "openai:qwen@http://localhost:1/v1"


def test_a_local_folder(tiny_folder):
    model = load_model(str(tiny_folder), device="cpu", dtype="float32", batch=3)
    assert isinstance(model, Model)
    assert (model.name, model.batch) == (str(tiny_folder), 3)


def save_adapter(folder, base, shift=0.0):
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(make_module(), LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in adapted.named_parameters():
        if shift and "lora_" in name:
            parameter.data.fill_(shift)
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)
    return str(folder)


def test_the_model_of_a_run(tiny_folder, tmp_path):
    spec = save_adapter(tmp_path / "model", str(tiny_folder))
    model = load_model(spec, device="cpu")
    assert model.name == spec
    assert model.generate([Prompt((Message("user", "a"),))], Sampling(0, 2))[0].token_ids


@pytest.mark.filterwarnings("error::FutureWarning")
def test_loading_an_adapter_says_nothing_of_what_libraries_will_rename(tiny_folder, tmp_path):
    with without_future_warnings():
        spec = save_adapter(tmp_path / "model", str(tiny_folder))
    assert load_model(spec, device="cpu", say=quiet).name == spec


def test_an_adapter_without_its_base(tmp_path):
    spec = save_adapter(tmp_path / "model", str(tmp_path / "nowhere" / "deep"))
    with pytest.raises(UsageError, match="nowhere"):
        load_model(spec, say=quiet)
    spec = save_adapter(tmp_path / "other", None)
    with pytest.raises(ModelError, match="does not name"):
        load_model(spec, say=quiet)


def test_an_adapter_on_an_adapter(tiny_folder, tmp_path):
    import torch

    first = save_adapter(tmp_path / "first", str(tiny_folder), shift=0.3)
    second = save_adapter(tmp_path / "second", first, shift=0.2)
    below = load_model(first, device="cpu", dtype="float32").module.state_dict()
    both = load_model(second, device="cpu", dtype="float32").module.state_dict()
    name = next(name for name in below if name.endswith("q_proj.weight"))
    plain = make_module().state_dict()[name]
    # Each adds (alpha / rank) B A with all entries alike, over a rank of 2.
    assert torch.allclose(below[name] - plain, torch.full_like(plain, 8 * 0.3 * 0.3), atol=1e-4)
    assert torch.allclose(both[name] - below[name], torch.full_like(plain, 8 * 0.04), atol=1e-4)


@pytest.mark.parametrize("spec", ["gpt", "", "a/b/c", "./nowhere", "mcp:x", "~/nowhere"])
def test_an_unknown_form_names_the_forms(spec):
    with pytest.raises(UsageError, match="no model is called") as caught:
        load_model(spec, say=quiet)
    for form in ("default", "openai:NAME@URL", "scripted:NAME", "hub id", "local folder"):
        assert form in caught.value.fix


def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot get model someone/model from the hub") as caught:
        load_model("someone/model", say=quiet)
    assert "--model default" in caught.value.fix


def test_a_folder_without_a_template(tmp_path):
    with pytest.raises(ModelError, match="no chat template"):
        load_model(str(save_tiny(tmp_path, template=None)))


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    with pytest.raises(ModelError, match="cannot load"):
        load_model(str(tmp_path))


def test_without_torch_the_extra_is_named(tiny_folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "selfchallenge.models.transformers", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch") as caught:
        load_model(str(tiny_folder))
    assert caught.value.fix == 'pip install "selfchallenge[train]"'


def test_naming_models_loads_nothing_heavy():
    code = (
        "import sys, selfchallenge.models.loading as l; l.load_model('scripted:echo'); "
        "print([m for m in ('torch', 'transformers', 'openai', 'gguf', 'huggingface_hub') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
