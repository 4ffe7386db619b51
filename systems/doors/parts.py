"""What a system is made of, before it is built."""

from __future__ import annotations

from systems.contract.config import SystemConfig
from systems.contract.traits import Traits


def traits(config: SystemConfig) -> Traits:
    """Return what the parts of a system say of it; their options are not looked at.

    Raises:
        BadInput: a part that is unknown.
    """
    from systems.policies.composition import traits_of

    return traits_of(config)


def required_packages(config: SystemConfig) -> tuple[str, ...]:
    """Return the packages that a system runs on beyond the project's own dependencies.

    Raises:
        BadInput: as `build_system`, of its engine.
    """
    from systems.policies.composition import part

    packages: tuple[str, ...] = part("engine", config.engine).packages
    return packages
