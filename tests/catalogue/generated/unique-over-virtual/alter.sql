-- a unique key over a virtual column is added
ADD UNIQUE KEY uv (v)
