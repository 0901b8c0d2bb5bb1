-- a unique key over a long text
ADD UNIQUE KEY l (b)
