"""Our losses are TRL's: same model, same sequences, same loss and gradients.

TRL's trainers are made and asked for the loss of one batch, with the sampled tokens given as they
were sampled. What is compared is everything from the ids to the gradients of every parameter.
"""

import os
import random

import pytest
import torch
from trl_model import PAD, VOCABULARY, make_module, make_tokenizer

from selfchallenge.learner import losses
from selfchallenge.learner.packing import pack
from selfchallenge.learner.samples import Sample
from selfchallenge.learner.step import sequence_logprobs, training

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'selfchallenge[train]'")


def make_samples(count=4):
    """Sequences that begin alike, and in which observations stand between the sampled tokens."""
    draw = random.Random(0)
    prompt = tuple(draw.randrange(2, VOCABULARY) for _ in range(20))
    samples = []
    for number in range(count):
        mask = [True] * 3 + [False] * (2 + number) + [True] * (2 + 2 * number)
        own = tuple(draw.randrange(2, VOCABULARY) for _ in mask)
        samples.append(Sample(prompt + own, (False,) * 20 + tuple(mask), (-1.0,) * sum(mask)))
    return samples


def padded(rows, fill=0):
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def owners(samples):
    return torch.tensor([i for i, sample in enumerate(samples) for _ in range(sample.trained)])


def ours(module, loss_of):
    with training(module, torch.float32):
        loss = loss_of(lambda samples: sequence_logprobs(module, pack(samples)))
        loss.backward()
    return loss.item(), [p.grad.clone() for p in module.parameters()]


def assert_equal(one, other):
    assert abs(one[0] - other[0]) < 1e-5
    for a, b in zip(one[1], other[1], strict=True):
        assert (a - b).abs().max() < 1e-5


def arguments(folder):
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": False,
    }


def stepped(trainer, inputs, **extra):
    module = trainer.model
    module.train()
    module.zero_grad()
    loss = trainer.compute_loss(module, inputs, **extra)
    loss.backward()
    return loss.item(), [p.grad.clone() for p in module.parameters()]


def test_sft_is_the_mean_over_the_sampled_tokens(tmp_path):
    from datasets import Dataset

    samples = make_samples()
    labels = [[i if m else -100 for i, m in zip(s.ids, s.mask, strict=True)] for s in samples]
    rows = [
        {"input_ids": list(s.ids), "labels": lab} for s, lab in zip(samples, labels, strict=True)
    ]
    trainer = trl.SFTTrainer(
        make_module(),
        args=trl.SFTConfig(max_length=None, **arguments(tmp_path)),
        train_dataset=Dataset.from_list(rows),
        processing_class=make_tokenizer(),
    )
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    assert (batch["labels"] != -100).sum() == sum(s.trained for s in samples)
    theirs = stepped(trainer, batch, num_items_in_batch=None)

    def loss_of(logprobs):
        found = logprobs(samples)
        return losses.nll(found, torch.ones_like(found), len(found))

    assert_equal(ours(make_module(), loss_of), theirs)


def test_dpo_over_sampled_tokens_only(tmp_path):
    from datasets import Dataset
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    class Masked(DataCollatorForPreference):
        def torch_call(self, examples):
            batch = super().torch_call(examples)
            rows = [e["chosen_mask"] for e in examples] + [e["rejected_mask"] for e in examples]
            batch["completion_mask"] = batch["completion_mask"] * padded(rows)
            return batch

    class Pretokenised(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *rest, **named):
            return dataset

    samples = make_samples()
    pairs = [(samples[0], samples[3]), (samples[2], samples[1])]
    rows = [
        {
            "prompt_ids": list(chosen.ids[:20]),
            "chosen_ids": list(chosen.ids[20:]),
            "rejected_ids": list(rejected.ids[20:]),
            "chosen_mask": list(map(int, chosen.mask)),
            "rejected_mask": list(map(int, rejected.mask)),
        }
        for chosen, rejected in pairs
    ]
    reference = make_module()
    for parameter in reference.parameters():
        parameter.data.add_(0.01)
    trainer = Pretokenised(
        make_module(),
        ref_model=reference,
        args=trl.DPOConfig(
            beta=0.3, max_length=None, remove_unused_columns=False, **arguments(tmp_path)
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=make_tokenizer(),
        data_collator=Masked(pad_token_id=PAD),
    )
    theirs = stepped(trainer, trainer.data_collator(rows))

    flat = [sample for pair in pairs for sample in pair]
    with torch.no_grad(), training(reference, torch.float32):
        fixed = losses.sequence_sums(
            sequence_logprobs(reference, pack(flat)), owners(flat), len(flat)
        )

    def loss_of(logprobs):
        sums = losses.sequence_sums(logprobs(flat), owners(flat), len(flat))
        return losses.dpo(sums[::2], sums[1::2], fixed[::2], fixed[1::2], 0.3).mean()

    assert_equal(ours(make_module(), loss_of), theirs)


@pytest.mark.parametrize("how", ["grpo", "dr_grpo", "dapo"])
def test_grpo_and_its_variants(tmp_path, how):
    from datasets import Dataset

    samples, longest = make_samples(), 40
    trainer = trl.GRPOTrainer(
        make_module(),
        reward_funcs=lambda prompts, **_: [0.0] * len(prompts),
        args=trl.GRPOConfig(
            loss_type=how,
            epsilon=0.1,
            epsilon_high=0.25,
            use_bias_correction_kl=False,  # the divergence as in GRPO's equation 4
            num_generations=4,
            per_device_train_batch_size=4,
            max_completion_length=longest,
            steps_per_generation=1,
            **arguments(tmp_path),
        ),
        train_dataset=Dataset.from_list([{"prompt": "w2 w3"}] * 4),
        processing_class=make_tokenizer(),
    )
    draw = torch.Generator().manual_seed(1)
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    advantages = losses.group_advantages(rewards, scaled=how != "dr_grpo").flatten()
    trained = owners(samples)
    with torch.no_grad(), training(trainer.model, torch.float32):
        exact = sequence_logprobs(trainer.model, pack(samples))
    old = exact + 0.3 * torch.randn(exact.shape, generator=draw)
    reference = exact + 0.3 * torch.randn(exact.shape, generator=draw)

    completions = padded([s.ids[20:] for s in samples])
    tool_mask = padded([list(map(int, s.mask[20:])) for s in samples])

    def grid(values):
        spread = torch.zeros(completions.shape)
        spread[tool_mask.bool()] = values
        return spread

    inputs = {
        "prompt_ids": padded([s.ids[:20] for s in samples]),
        "prompt_mask": torch.ones(4, 20, dtype=torch.long),
        "completion_ids": completions,
        "completion_mask": padded([[1] * (len(s.ids) - 20) for s in samples]),
        "tool_mask": tool_mask,
        "advantages": advantages,
        "old_per_token_logps": grid(old),
        "ref_per_token_logps": grid(reference),
        "num_items_in_batch": tool_mask.sum(),
    }
    trainer.current_gradient_accumulation_steps = 1
    trainer.beta = 0.05  # given at once, TRL would load the reference from the hub
    theirs = stepped(trainer, inputs)

    def loss_of(logprobs):
        found = logprobs(samples)
        per_token = losses.clipped_surrogate(found, old, advantages[trained], 0.1, 0.25)
        per_token = per_token + 0.05 * losses.kl_k3(found, reference)
        return (per_token * losses.token_weights(trained, 4, how, longest)).sum()

    assert_equal(ours(make_module(), loss_of), theirs)
