-- a CHECK is switched off
ALTER CHECK named NOT ENFORCED
