-- a SET with 64 members
ADD z INT
