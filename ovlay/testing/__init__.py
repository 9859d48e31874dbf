"""What others need to test their drivers, and their use of ovlay.

`ovlay.testing.contract.BackendContract` is the suite that every driver must pass, `ovlay.testing.scripted` a host
whose tools are played by Python functions, and `ovlay.testing.plugin` the pytest plugin with ``fake_overlay``.
"""
