"""The quickstart's grid as a plain Ray Tune script: what one would write without this project.

All 49 points of the 7 x 7 grid and the same seeds, epochs, batch, model and optimiser as
``sweeps/quickstart.yaml``, given to OptunaSearch as points to evaluate (its GridSampler calls ``Study.stop``,
which Tune's searcher does not survive); a DataLoader, an own training loop, DropAttack as a plug-in that
attacks, is backpropagated and restores; the metrics of every epoch reported to Tune and logged to a SQLite
MLflow store by Ray's callback (test accuracy too, so that it can be read off at the best epoch on
validation), ``reuse_actors=True`` unless ``--no-reuse``; at the end the grid as a table and as a heatmap. It
takes the data's tensors through ``tune.with_parameters``, so that they are loaded once. Nothing of this
project is imported. It is what ``benchmarks/quickstart_vs_tune.py`` compares with.

    python benchmarks/plain_tune.py --folder FOLDER
"""

from __future__ import annotations

import argparse
import os
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

EPSILONS = [0.01, 0.1, 1, 3, 5, 7, 9]
PROBABILITIES = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1]


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 16, 3, padding=1)
        self.fc1 = nn.Linear(64, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.conv1(x).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        x = self.fc1(x.flatten(1)).relu()
        logits: Tensor = self.fc3(self.fc2(x).relu())
        return logits


class DropAttack:
    """Perturbs one tensor by epsilon * mask * gradient / ||gradient||; the mask is Bernoulli(p)."""

    def __init__(self, epsilon: float, p: float) -> None:
        self.epsilon, self.p = epsilon, p

    def perturbation(self, gradient: Tensor) -> Tensor:
        norm = gradient.norm()
        if norm == 0 or torch.isnan(norm):
            return torch.zeros_like(gradient)
        mask = torch.bernoulli(torch.full_like(gradient, self.p))
        r: Tensor = self.epsilon * mask * gradient / norm
        return r

    def attack(self, weight: Tensor, gradient: Tensor) -> None:
        self.backup = weight.data.clone()
        weight.data.add_(self.perturbation(gradient))

    def restore(self, weight: Tensor) -> None:
        weight.data = self.backup


def load_data() -> dict[str, TensorDataset]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target, dtype=torch.int64)
    train, rest = train_test_split(range(len(y)), test_size=360, stratify=y, random_state=0)
    val, test = train_test_split(rest, test_size=180, stratify=y[rest], random_state=0)
    rows = {"train": train, "val": val, "test": test}
    return {split: TensorDataset(x[chosen], y[chosen]) for split, chosen in rows.items()}


def train_step(
    model: LeNet5, optimizer: torch.optim.Optimizer, attack: DropAttack, x: Tensor, y: Tensor
) -> float:
    optimizer.zero_grad()
    x = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert model.conv1.weight.grad is not None
    weight_gradient = model.conv1.weight.grad.clone()
    x_attacked = (x + attack.perturbation(x.grad)).detach()
    loss_input = nn.functional.cross_entropy(model(x_attacked), y)
    loss_input.backward()  # type: ignore[no-untyped-call]
    attack.attack(model.conv1.weight, weight_gradient)
    loss_weight = nn.functional.cross_entropy(model(x.detach()), y)
    loss_weight.backward()  # type: ignore[no-untyped-call]
    attack.restore(model.conv1.weight)
    optimizer.step()
    return loss.item()


def evaluate(model: nn.Module, loader: DataLoader[Any]) -> tuple[float, float]:
    model.eval()
    loss, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            logits = model(x)
            loss += nn.functional.cross_entropy(logits, y, reduction="sum").item()
            correct += int((logits.argmax(1) == y).sum().item())
            count += len(y)
    model.train()
    return loss / count, correct / count


def train(config: dict[str, Any], data: dict[str, TensorDataset]) -> None:
    from ray import tune

    torch.manual_seed(config["seed"])
    model = LeNet5()
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    attack = DropAttack(config["epsilon"], config["p"])
    train_loader = DataLoader(data["train"], batch_size=config["batch_size"], shuffle=True)
    val_loader = DataLoader(data["val"], batch_size=128)
    test_loader = DataLoader(data["test"], batch_size=128)
    for _ in range(config["epochs"]):
        losses = [train_step(model, optimizer, attack, x, y) for x, y in train_loader]
        val_loss, val_accuracy = evaluate(model, val_loader)
        test_loss, test_accuracy = evaluate(model, test_loader)
        tune.report(
            {
                "train_loss": sum(losses) / len(losses),
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "test_loss": test_loss,
                "test_accuracy": test_accuracy,
            }
        )


def draw(results: Any, folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    frame = results.get_dataframe(filter_metric="val_accuracy", filter_mode="max")
    grid = frame.pivot_table(index="config/p", columns="config/epsilon", values="test_accuracy")
    print(grid.round(4))
    figure, axes = plt.subplots()
    picture = axes.imshow(grid.values)
    axes.set_xticks(range(len(grid.columns)), grid.columns)
    axes.set_yticks(range(len(grid.index)), grid.index)
    axes.set_xlabel("epsilon")
    axes.set_ylabel("p")
    figure.colorbar(picture)
    figure.savefig(folder / "grid.png")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where MLflow's and Tune's files go")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epsilons", type=int, default=len(EPSILONS), help="only the first so many columns")
    parser.add_argument("--reuse", action=argparse.BooleanOptionalAction, default=True, help="reuse_actors")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    grid = {
        "epsilon": EPSILONS[: options.epsilons], "p": PROBABILITIES, "seed": list(range(options.seeds)),
    }  # fmt: skip
    points = [dict(zip(grid, point, strict=True)) for point in product(*grid.values())]
    ray.init(num_cpus=2, include_dashboard=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, data=load_data()), {"cpu": 1}),
        param_space={
            **{name: tune.choice(values) for name, values in grid.items()},
            "epochs": options.epochs,
            "lr": options.lr,
            "batch_size": options.batch_size,
        },
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            search_alg=OptunaSearch(points_to_evaluate=points),
            num_samples=len(points),
            reuse_actors=options.reuse,
        ),
        run_config=tune.RunConfig(
            name="grid",
            storage_path=str(folder / "tune"),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", experiment_name="quickstart"
                )
            ],
        ),
    )
    results = tuner.fit()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed")
    print("best", results.get_best_result().config)
    draw(results, folder)
    ray.shutdown()


if __name__ == "__main__":
    main()
