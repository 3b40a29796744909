"""A network of one's own: plain torch, nothing of trimtab in it."""

# mypy: allow-subclassing-any

from torch import Tensor, nn


class WaveNet(nn.Module):
    """Two convolutions along time, the mean over time, one dense layer."""

    def __init__(self, width: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, width, 9, stride=2, padding=4),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, 2 * width, 9, stride=2, padding=4),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, signal: Tensor) -> Tensor:
        """Return logits (batch, classes) of signals (batch, 1, time)."""
        logits: Tensor = self.classifier(self.features(signal))
        return logits
