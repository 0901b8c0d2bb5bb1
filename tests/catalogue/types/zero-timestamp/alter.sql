-- zero timestamps stay
ADD z INT
