-- a number that was left out has moved the counter, and another has not
ADD INDEX (k)
