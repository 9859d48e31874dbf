"""The command ``ovlay-bkt``: bkt's own command lines and messages, for bkt to hand its arguments over to."""
