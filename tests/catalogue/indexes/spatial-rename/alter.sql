-- the column under a SPATIAL index is renamed and moved
CHANGE p place POINT NOT NULL FIRST
