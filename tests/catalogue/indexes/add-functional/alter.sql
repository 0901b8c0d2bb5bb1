-- a functional index
ADD INDEX f ((a + 1)), ADD UNIQUE INDEX g ((u * 2))
