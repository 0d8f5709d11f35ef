import pytest
import torch

torch.set_num_threads(1)  # the tensors are tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    from tiny_model import save_tiny

    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_folder):
    from selfchallenge.models.transformers import TransformersModel

    return TransformersModel(tiny_folder, device="cpu", dtype="float32", name="tiny")
