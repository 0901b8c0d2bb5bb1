-- FORCE rebuilds
FORCE
