-- a SPATIAL index is dropped, another one is added
DROP KEY sp, ADD KEY b (a, id)
