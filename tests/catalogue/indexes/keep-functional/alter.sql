-- functional indexes stay
ADD COLUMN z INT
