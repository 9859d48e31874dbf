"""A host with its kernel in a scratch directory: mounts, overlays and read-only trees, with no privilege at all.

`SimulatedKernel` plays the mounts that ovlay makes with plain directories, so that a program under test cannot tell;
`SimulatedHost` is a host on it. Its state is on the disk: who opens the same directory, in whatever process, sees the
same host.
"""

from ovlay.simulated.host import SimulatedHost
from ovlay.simulated.kernel import SimulatedKernel

__all__ = ["SimulatedHost", "SimulatedKernel"]
