-- an application-time period
ADD COLUMN z INT
