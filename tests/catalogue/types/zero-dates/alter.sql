-- zero dates stay
ADD z INT
