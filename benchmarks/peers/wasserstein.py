"""A conditional Wasserstein GAN with gradient penalty in plain PyTorch, as textbooks write it.

Penalty 10, five critic steps, Adam with rate 1e-4 and betas 0 and 0.9.
Source: Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville, NeurIPS 2017, algorithm 1.
"""

# the peers live in an environment of their own
# pyright: reportMissingImports=false

import argparse
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from benchmarks.peers.exchange import Sampler, Task, main

PENALTY, CRITIC_STEPS, RATE, BETAS = 10.0, 5, 1e-4, (0.0, 0.9)
WIDTH, BATCH, STEPS = 128, 256, 10_000


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Three hidden layers."""
    sizes = [inputs, WIDTH, WIDTH, WIDTH]
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))


def penalty(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """How far the critic's slope between real and generated states is from one."""
    share = torch.rand(len(real), 1)
    between = (share * real + (1 - share) * fake).requires_grad_(True)
    value = critic(torch.cat([between, z], 1)).sum()
    (slope,) = torch.autograd.grad(value, between, create_graph=True)
    return PENALTY * ((slope.norm(2, dim=1) - 1) ** 2).mean()


def train(q: torch.Tensor, z: torch.Tensor, steps: int) -> tuple[nn.Module, int]:
    """The generator after so many of its steps, and the dimension of its latent."""
    latent = max(4, q.shape[1])
    generator, critic = network(latent + z.shape[1], q.shape[1]), network(q.shape[1] + z.shape[1], 1)
    generator_steps = torch.optim.Adam(generator.parameters(), RATE, BETAS)
    critic_steps = torch.optim.Adam(critic.parameters(), RATE, BETAS)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(len(q), (BATCH,))
        return q[chosen], z[chosen]

    def made(condition: torch.Tensor) -> torch.Tensor:
        return generator(torch.cat([torch.randn(BATCH, latent), condition], 1))

    for _ in range(steps):
        for _ in range(CRITIC_STEPS):
            real, condition = batch()
            fake = made(condition).detach()
            gap = critic(torch.cat([fake, condition], 1)).mean() - critic(torch.cat([real, condition], 1)).mean()
            _descend(critic_steps, gap + penalty(critic, real, fake, condition))
        _, condition = batch()
        _descend(generator_steps, -critic(torch.cat([made(condition), condition], 1)).mean())
    return generator, latent


def _descend(optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def trained(task: Task, asked: argparse.Namespace) -> Sampler:
    """Draws of a GAN trained on standardised pairs."""
    torch.manual_seed(task.seed)
    means, spreads = ([part.mean(0) for part in (task.q, task.z)], [part.std(0) for part in (task.q, task.z)])
    q, z = (
        torch.as_tensor((part - mean) / spread, dtype=torch.float32)
        for part, mean, spread in zip((task.q, task.z), means, spreads, strict=True)
    )
    generator, latent = train(q, z, asked.effort or STEPS)

    def sample(condition: np.ndarray, count: int) -> np.ndarray:
        scaled = torch.as_tensor((condition - means[1]) / spreads[1], dtype=torch.float32)
        with torch.no_grad():
            made = generator(torch.cat([torch.randn(count, latent), scaled.expand(count, -1)], 1))
        return made.numpy().astype(float) * spreads[0] + means[0]

    return sample


if __name__ == "__main__":
    main({"torch-wgan-gp": trained})
