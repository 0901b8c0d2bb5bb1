-- gaps of billions
ADD COLUMN z INT
