import torch

from selfchallenge.learner.losses import nll, token_logprobs


def test_logprobs_in_chunks_are_those_of_the_whole():
    torch.manual_seed(0)
    hidden = torch.randn(11, 8, requires_grad=True)
    head = torch.nn.Linear(8, 13)
    targets = torch.randint(13, (11,))
    whole = head(hidden).log_softmax(1).gather(1, targets[:, None])[:, 0]
    chunks = token_logprobs(hidden, targets, head, rows=4)
    assert torch.allclose(chunks, whole, atol=1e-6)
    wanted = torch.autograd.grad(whole.square().sum(), [hidden, head.weight])
    found = torch.autograd.grad(chunks.square().sum(), [hidden, head.weight])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))


def test_the_head_never_sees_more_rows_than_allowed():
    seen = []

    def head(part):
        seen.append(len(part))
        return part.repeat(1, 2)

    token_logprobs(torch.randn(10, 3), torch.zeros(10, dtype=torch.long), head, rows=4)
    assert seen == [4, 4, 2]


def test_no_trained_token_is_no_row():
    none = token_logprobs(
        torch.randn(0, 3), torch.zeros(0, dtype=torch.long), torch.nn.Linear(3, 5)
    )
    assert none.shape == (0,)


def test_nll_is_the_weighted_sum_over_the_normaliser():
    loss = nll(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1.0, 0.0, 0.5]), 4.0)
    assert loss.item() == 0.75
