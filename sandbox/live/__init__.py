"""``make demo-live``: the shop changes at a chosen rate, the live charts follow, every change is accounted for."""
