"""Networks of single sources, joined into one separator."""

from __future__ import annotations

import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build
from stemwise.models.bank import combine
from stemwise.models.separator import Separator


def single(source: str, kind: str = "open-unmix", **options: object) -> Separator:
    torch.manual_seed(len(source))
    if kind == "open-unmix":
        options = {"hidden": 8, "layers": 1, "n_fft": 256, "hop": 64, **options}
    return build(kind, [source], **options).eval()


def test_a_combined_separator_gives_what_each_gave_alone() -> None:
    singles = [single(name, residual=True) for name in ("vocals", "drums", "bass")]
    combined = combine(singles)
    assert combined.sources == ("vocals", "drums", "bass", "residual")
    assert combined.parameter_count == sum(one.parameter_count for one in singles)
    mixture = torch.randn(1, 2, 6400, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together = combined(mixture).estimates
        for index, one in enumerate(singles):
            torch.testing.assert_close(together[:, index], one(mixture).estimates[:, 0])
        torch.testing.assert_close(together.sum(dim=1), combined(mixture).mixture)


def test_what_does_not_fit_together_is_refused() -> None:
    vocals = single("vocals")
    with pytest.raises(ModelError, match="nothing to combine"):
        combine([])
    with pytest.raises(ModelError, match="'vocals'"):
        combine([vocals, single("vocals")])
    with pytest.raises(ModelError, match="'hidden'"):
        combine([vocals, single("drums", hidden=16)])
    with pytest.raises(ModelError, match="one kind"):
        combine([vocals, single("drums", "iass", features=2)])
    with pytest.raises(ModelError, match="all its sources at once"):
        combine([build("joint-unet", features=2)])
