-- several triggers of one kind keep their order
ADD COLUMN z INT
