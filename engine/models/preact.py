"""The pre-activation residual block that PreAct ResNet and WideResNet are made of."""

from __future__ import annotations

from torch import Tensor, nn

from engine.models.dropout import Dropout


class PreActBlock(nn.Module):
    """y = conv2(drop(relu(bn2(conv1(h))))) + s, with h = relu(bn1(x)).

    s is x where the shape stays, and a 1 x 1 convolution of h where it changes.

    Args:
        width: channels of x. out: channels of y. stride: of ``conv1``.
        dropout: probability at the site ``dropout``; None has no site.

    Source: He et al. (ECCV 2016), Fig. 1b; Zagoruyko and Komodakis (BMVC 2016), Fig. 1d.
    """

    def __init__(self, width: int, out: int, stride: int, dropout: float | None = None):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.dropout = nn.Identity() if dropout is None else Dropout(dropout)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        changed = stride != 1 or width != out
        self.shortcut = nn.Conv2d(width, out, 1, stride, bias=False) if changed else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """y, smaller than x by the stride."""
        h_BCHW = self.bn1(x_BCHW).relu()
        s_BCHW = x_BCHW if self.shortcut is None else self.shortcut(h_BCHW)
        y_BCHW: Tensor = self.conv2(self.dropout(self.bn2(self.conv1(h_BCHW)).relu())) + s_BCHW
        return y_BCHW


def stage(depth: int, width: int, out: int, stride: int, dropout: float | None = None) -> nn.Sequential:
    """``depth`` blocks, of which the first changes width and size."""
    first = PreActBlock(width, out, stride, dropout)
    return nn.Sequential(first, *(PreActBlock(out, out, 1, dropout) for _ in range(depth - 1)))
