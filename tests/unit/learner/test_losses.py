import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfchallenge.learner import losses
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


def spread(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_sums_are_of_each_sequence():
    sums = losses.sequence_sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
    assert sums.tolist() == [5.0, 0.0, 2.0]


def test_dpo_at_the_reference_is_log_two_and_falls_with_the_margin():
    same = torch.tensor([-3.0])
    assert math.isclose(losses.dpo(same, same, same, same, 0.1).item(), math.log(2), rel_tol=1e-6)
    better = losses.dpo(same + 2, same - 1, same, same, 0.5)
    assert math.isclose(better.item(), math.log(1 + math.exp(-1.5)), rel_tol=1e-6)


def test_advantages_of_a_group_add_up_to_nothing():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    plain = losses.group_advantages(rewards, scaled=False)
    assert plain.tolist() == [[0.75, -0.25, -0.25, -0.25], [0.0] * 4]
    scaled = losses.group_advantages(rewards, scaled=True)
    assert torch.allclose(scaled[0], plain[0] / (0.5 + losses.STD_FLOOR))
    assert not scaled[1].any()


def test_weights_of_tokens_by_variant():
    owners = torch.tensor([0, 0, 0, 1])
    weigh = losses.token_weights
    assert torch.allclose(weigh(owners, 2, "grpo"), torch.tensor([1 / 6, 1 / 6, 1 / 6, 1 / 2]))
    assert weigh(owners, 2, "dapo").tolist() == [0.25] * 4
    assert torch.allclose(weigh(owners, 2, "dr_grpo", 10), torch.full((4,), 1 / 20))
    with pytest.raises(ValueError, match="longest"):
        weigh(owners, 2, "dr_grpo")


def test_beyond_the_clip_a_token_has_no_gradient_in_the_direction_of_its_advantage():
    logprobs = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.0], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    losses.clipped_surrogate(logprobs, torch.zeros(5), advantages, 0.2, 0.3).sum().backward()
    moved = [grad != 0 for grad in logprobs.grad.tolist()]
    assert moved == [False, True, True, False, True]
    assert logprobs.grad[4] == -2.0


def test_clip_higher_lets_unlikely_tokens_grow_further():
    ratio = torch.tensor([math.log(1.25)])
    one, none = torch.ones(1), torch.zeros(1)
    assert math.isclose(
        losses.clipped_surrogate(ratio, none, one, 0.2, 0.2).item(), -1.2, rel_tol=1e-5
    )
    assert math.isclose(
        losses.clipped_surrogate(ratio, none, one, 0.2, 0.3).item(), -1.25, rel_tol=1e-5
    )


@pytest.mark.parametrize("estimator", [losses.kl_k1, losses.kl_k3])
def test_estimators_are_of_the_divergence(estimator):
    policy, reference = spread(0, 6).log_softmax(0), spread(1, 6).mul(0.3).log_softmax(0)
    reference = (0.9 * policy + 0.1 * reference).log_softmax(0)
    exact = (policy.exp() * (policy - reference)).sum()
    expected = (policy.exp() * estimator(policy, reference)).sum()
    assert torch.allclose(expected, exact, rtol=1e-4)
    assert not estimator(policy, policy).any()
    assert (losses.kl_k3(policy, reference) >= 0).all()


def test_what_the_sampler_thought_little_of_is_not_weighed_without_bound():
    found = losses.mismatch_weights(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -9.0]), 2.0)
    assert found.tolist() == [1.0, 2.0]


def exhaustive_gae(rewards, values, discount, trace):
    """The definition: the sum over k of (gamma lambda)^k delta of t + k."""
    after = [*values[1:], 0.0][: len(values)]
    deltas = [r + discount * a - v for r, a, v in zip(rewards, after, values, strict=True)]
    return [
        sum((discount * trace) ** k * delta for k, delta in enumerate(deltas[t:]))
        for t in range(len(deltas))
    ]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.floats(0.5, 1.0),
    st.floats(0.0, 1.0),
)
def test_gae_is_the_discounted_sum_of_the_errors_within_each_sequence(lengths, discount, trace):
    total = sum(lengths)
    rewards, values = spread(1, total), spread(2, total)
    advantages, returns = losses.gae(rewards, values, lengths, discount, trace)
    expected, start = [], 0
    for length in lengths:
        part = slice(start, start + length)
        expected += exhaustive_gae(rewards[part].tolist(), values[part].tolist(), discount, trace)
        start += length
    assert torch.allclose(advantages, torch.tensor(expected), atol=1e-4)
    assert torch.allclose(returns, advantages + values)


def test_with_lambda_one_and_a_constant_value_gae_is_the_return_less_the_constant():
    rewards = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    advantages, returns = losses.gae(rewards, torch.full((5,), 0.25), (3, 2), 1.0, 1.0)
    assert torch.allclose(advantages, torch.tensor([0.75, 0.75, 0.75, -0.25, -0.25]))
    assert returns.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_a_value_gains_nothing_by_running_past_the_clip():
    values = torch.tensor([0.5, 0.1], requires_grad=True)
    loss = losses.value_loss(values, torch.zeros(2), torch.ones(2), 0.2)
    assert torch.allclose(loss, torch.tensor([0.32, 0.405]))
    loss.sum().backward()
    assert values.grad.tolist() == pytest.approx([0.0, -0.9])


def test_entropy_is_that_of_what_was_drawn_from():
    hidden, head = spread(0, 12).view(4, 3), torch.nn.Linear(3, 7)
    found = losses.token_entropies(hidden, head, rows=3, temperature=0.7)
    exact = torch.distributions.Categorical(logits=head(hidden) / 0.7).entropy()
    assert torch.allclose(found, exact, atol=1e-6)
    assert not found.requires_grad
    assert losses.token_entropies(hidden[:0], head).shape == (0,)


def test_what_is_clipped_has_no_gradient():
    ratios = torch.tensor([0.5, 0.95, 1.0, 1.25, 1.5])
    for advantage in (-1.0, 0.0, 1.0):
        new = ratios.log().requires_grad_(True)
        old, gains = torch.zeros(5), torch.full((5,), advantage)
        losses.clipped_surrogate(new, old, gains, 0.2, 0.28).sum().backward()
        cut = losses.is_clipped(new, old, gains, 0.2, 0.28)
        if advantage:
            assert torch.equal(new.grad == 0, cut.bool())
            assert 0 < cut.sum() < 5
        else:
            assert not cut.any()


def test_explained_variance_is_one_for_what_was_known_and_none_for_a_constant():
    came = spread(4, 30)
    assert losses.explained_variance(came - 0.5, came) == pytest.approx(1)
    assert losses.explained_variance(torch.full((30,), 0.3), came) == pytest.approx(0)
    assert losses.explained_variance(2 * came.mean() - came, came) == pytest.approx(-3, abs=1e-4)
    assert losses.explained_variance(came, torch.ones(30)) == 0


def test_explained_variance_of_a_round_without_success_is_no_matter_of_rounding():
    values, rewards = 0.1 * spread(5, 40), 1e-4 * spread(6, 40)
    _, returns = losses.gae(rewards, values, [8] * 5, 1.0, 1.0)
    assert losses.explained_variance(values, returns) == 0


def test_whitened_values_have_mean_zero_and_deviation_one():
    found = losses.whiten(spread(3, 50) * 7 + 2)
    assert abs(found.mean()) < 1e-5
    assert abs(found.square().mean() - 1) < 1e-4
    assert not losses.whiten(torch.full((3,), 4.0)).any()
