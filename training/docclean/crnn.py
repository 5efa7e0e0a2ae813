"""A small reader of words, with CTC: it guides the training of the deblurring and is never shipped."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEIGHT, WIDTH = 32, 128  # pixels of the crop of a word
CHARACTERS = "".join(chr(code) for code in range(33, 127))  # printable ASCII; class 0 is CTC's blank
CHANNELS = (16, 32, 64, 64, 128, 128, 128)


class CRNN(nn.Module):
    """Convolutions, then two bidirectional LSTM layers: crops of words -> log-probabilities of characters.

    (N, 1, HEIGHT, WIDTH) in [0, 1], 1 = paper -> (31, N, 1 + len(CHARACTERS)), time first, float32. The layout is that
    of Shi et al. 2015 (arXiv 1507.05717) with a quarter of its channels.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e, f, g = CHANNELS
        self.features = nn.Sequential(
            *(nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),  # (16, 64)
            *(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),  # (8, 32)
            *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c, d, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1))),  # (4, 32)
            *(nn.Conv2d(d, e, 3, padding=1), nn.BatchNorm2d(e), nn.ReLU()),
            *(nn.Conv2d(e, f, 3, padding=1), nn.BatchNorm2d(f), nn.ReLU(), nn.MaxPool2d((2, 1))),  # (2, 32)
            *(nn.Conv2d(f, g, 2), nn.ReLU()),  # (1, 31)
        )
        self.context = nn.LSTM(g, g // 2, num_layers=2, bidirectional=True)
        self.classes = nn.Linear(g, 1 + len(CHARACTERS))

    def forward(self, crops: Tensor) -> Tensor:
        columns = self.features(1 - 2 * crops)[:, :, 0]  # (N, C, 31)
        hidden, _ = self.context(columns.permute(2, 0, 1))  # (31, N, C)
        return F.log_softmax(self.classes(hidden).float(), dim=-1)


def freeze(net: CRNN) -> CRNN:
    """Fix the weights and the statistics. The LSTM stays in training mode: cuDNN has no gradients in the other one."""
    net.requires_grad_(False).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return net


def ctc_loss(scores: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean CTC loss per character of log-probabilities (T, N, V), labels (N, L) and their lengths (N,).

    A word that 31 time steps cannot hold costs nothing.
    """
    times = torch.full((scores.shape[1],), scores.shape[0], dtype=torch.long)
    return F.ctc_loss(scores, labels, times, lengths.cpu(), blank=0, zero_infinity=True)


def encode(word: str) -> list[int]:
    return [1 + CHARACTERS.index(character) for character in word]


def decode(labels: Tensor) -> str:
    """Return the text of labels (L,) without blanks."""
    return "".join(CHARACTERS[label - 1] for label in labels.tolist() if label)


def read(scores: Tensor) -> list[str]:
    """Return the likeliest text of every crop: repeated classes are one, and blanks fall away."""
    return [decode(torch.unique_consecutive(classes)) for classes in scores.argmax(dim=-1).T]


def cut_words(pictures: Tensor, boxes: Tensor) -> Tensor:
    """Cut words out of pictures (B, 1, H, W) in [0, 1] at boxes (B, K, 4): (B, K, 1, HEIGHT, WIDTH), differentiable.

    A box holds left, top, right and bottom in pixels. Words keep their aspect up to the width of the crop, and longer
    ones are narrowed; the rest of the crop is white.
    """
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(dim=-1))  # (B, K, 1)
    breadth, height = right - left, (bottom - top).clamp(min=1e-3)
    drawn = (breadth * HEIGHT / height).clamp(1, WIDTH)  # pixels of the crop that the word takes
    across = (torch.arange(WIDTH, device=boxes.device) + 0.5 - (WIDTH - drawn) / 2) / drawn  # (B, K, WIDTH)
    down = (torch.arange(HEIGHT, device=boxes.device) + 0.5) / HEIGHT
    x = 2 * (left + across * breadth) / pictures.shape[-1] - 1
    y = 2 * (top + down * height) / pictures.shape[-2] - 1
    count = boxes.shape[:2]
    grid = torch.stack(
        [x[:, :, None].expand(*count, HEIGHT, WIDTH), y[..., None].expand(*count, HEIGHT, WIDTH)], dim=-1
    )
    ink = F.grid_sample((1 - pictures).float(), grid.flatten(1, 2), align_corners=False)  # (B, 1, K * HEIGHT, WIDTH)
    inside = ((across >= 0) & (across <= 1))[:, :, None, None]
    return 1 - ink.view(len(ink), 1, count[1], HEIGHT, WIDTH).transpose(1, 2) * inside
