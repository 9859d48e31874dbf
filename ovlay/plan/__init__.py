"""Plans: what is going to be done to a host, as values that can be shown, sent, and run.

A driver returns a `Plan`; `ovlay.plan.execute` runs it. Every step checks after itself that what it did is so.
"""

from ovlay.plan.plan import Plan
from ovlay.plan.step import Step

__all__ = ["Plan", "Step"]
