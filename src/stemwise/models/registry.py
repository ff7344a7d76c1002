"""Which networks there are; `stemwise.models.catalogue` has the weights.

A network's own module is imported only when it is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stemwise.errors import ModelError, hint

if TYPE_CHECKING:
    from stemwise.models.separator import Separator


@dataclass(frozen=True)
class Network:
    """Where a network's class is, and where its idea comes from."""

    module: str
    attribute: str
    paper: str


NETWORKS: dict[str, Network] = {
    "band-unet": Network("stemwise.models.band_unet", "BandUNet", "stemwise's own"),
    "conditioned-unet": Network(
        "stemwise.models.conditioned_unet", "ConditionedUNet", "Kadandale et al. 2020"
    ),
    "iass": Network("stemwise.models.iass", "IASS", "Hung & Lerch 2020"),
    "joint-unet": Network("stemwise.models.joint_unet", "JointUNet", "Stoller et al. 2018"),
    "multichannel-unet": Network(
        "stemwise.models.multichannel_unet", "MultichannelUNet", "Kadandale et al. 2020"
    ),
    "open-unmix": Network("stemwise.models.open_unmix", "OpenUnmix", "Stöter et al. 2019"),
    "open-unmix-transformer": Network(
        "stemwise.models.open_unmix_transformer", "OpenUnmixTransformer", "George et al. 2022"
    ),
    "waveform-unmix": Network(
        "stemwise.models.waveform_unmix", "WaveformUnmix", "George et al. 2022"
    ),
    "shared-encoder": Network(
        "stemwise.models.shared_encoder", "SharedEncoder", "Doire & Okubadejo 2019"
    ),
}


def network_class(name: str) -> type[Separator]:
    """The class of a network. Raises ModelError, naming the nearest, where there is none."""
    if name not in NETWORKS:
        raise ModelError(f"There is no network {name!r}: {hint(name, sorted(NETWORKS))}")
    entry = NETWORKS[name]
    found: type[Separator] = getattr(import_module(entry.module), entry.attribute)
    return found


def build(name: str, sources: Sequence[str] | None = None, **config: Any) -> Separator:
    """A new network with random weights.

    Raises ModelError for an unknown network, an unknown option (with the nearest valid one), or a
    value the network refuses.
    """
    from inspect import signature

    found = network_class(name)
    known = list(signature(found.__init__).parameters)[1:]
    for key in config:
        if key not in known:
            raise ModelError(
                f"The network {name!r} has no option {key!r}: {hint(key, sorted(known))}"
            )
    if sources is not None:
        config["sources"] = list(sources)
    try:
        return found(**config)
    except (TypeError, ValueError) as error:
        raise ModelError(f"The network {name!r} cannot be built: {error}.") from error
